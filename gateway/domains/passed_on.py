"""Whose call it is: a service that calls through the gateway passes on the stamp that it was sent, and the stamp names its domain.

Only what this gateway's own keys have signed is read, and nothing of it is believed but the domain: who the user is, the credential says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.identity.stamp_keys import StampKey

REFUSED: Final = "domain-stamp-refused"
"""The event of a call whose stamp was not read: forged, too old, or of a gateway with other keys. It counts as nobody's."""
ENTRIES: Final = 10_000
"""Stamps that were read, of some 0.5 KB each: the same one comes for as long as it is good."""
LONGEST: Final = 8 * 1024
"""Bytes of a stamp."""


class PassedOn:
    """See the module's docstring."""

    def __init__(self, keys: Iterable[StampKey], issuer: str, entries: int = ENTRIES) -> None:
        self._keys = {key.kid: key for key in keys}
        self._issuer = issuer
        self._entries = entries
        self._read: dict[bytes, tuple[str, float]] = {}

    def domain(self, token: bytes, now: float) -> str | None:
        """Of the service that was sent this stamp; "" for one without a domain, None for one that is not good. `now`: Unix time.

        Read before, it costs 0.2 µs; else a signature: HS256 0.03 ms, ES256 0.1.
        """
        known = self._read.get(token)
        if known is None:
            known = self._verified(token)
            if known is None:
                return None
            if len(self._read) >= self._entries:
                del self._read[next(iter(self._read))]
            self._read[token] = known
        domain, until = known
        return domain if now < until else None

    def _verified(self, token: bytes) -> tuple[str, float] | None:
        """(its domain, until when it is good), if one of the keys has signed it."""
        from gateway.identity.stamp_keys import key_id

        if len(token) > LONGEST:
            return None
        key = self._keys.get(key_id(token))
        claims = key.verified(token) if key is not None else None
        if claims is None or claims.get("iss") != self._issuer:
            return None
        domain, until = claims.get("domain", ""), claims.get("exp")
        if not isinstance(domain, str) or not isinstance(until, int):
            return None
        return domain, float(until)
