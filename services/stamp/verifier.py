"""One service's way of reading stamps: its keys, its name, and exactly one field a request."""

from __future__ import annotations

import os
from collections.abc import Sequence

from services.stamp.keys import from_environment
from services.stamp.verify import LEEWAY, Keys, Stamped, StampError, verify


class Verifier:
    """`keys`: None refuses everything, as unavailable. `audience`: this service's name under the gateway's [upstreams]."""

    def __init__(self, keys: Keys | None, audience: str, *, issuer: str = "banyan", leeway: float = LEEWAY) -> None:
        self.audience = audience
        self._keys = keys
        self._issuer = issuer
        self._leeway = leeway

    @classmethod
    def from_environment(cls, audience: str) -> Verifier:
        """With the keys that BANYAN_STAMP_KEYS and BANYAN_STAMP_JWKS name (keys.py). BANYAN_STAMP_ISSUER, BANYAN_STAMP_AUDIENCE: where the
        gateway calls itself or this service otherwise.

        Raises:
            KeyTextError: one of them cannot be used.
        """
        named = os.environ.get("BANYAN_STAMP_AUDIENCE") or audience
        return cls(from_environment(), named, issuer=os.environ.get("BANYAN_STAMP_ISSUER") or "banyan")

    @property
    def configured(self) -> bool:
        """Are there keys, or a place to fetch them from?"""
        return self._keys is not None

    def read(self, values: Sequence[str], *, login: bool = False) -> Stamped:
        """Who calls, by all values of the request's Banyan-Identity. `login`: somebody who has logged in, and nobody else.

        May wait for the gateway's keys (keys.py, TIMEOUT): not for an event loop's own thread.

        Raises:
            StampError: the request is to be refused.
        """
        if self._keys is None:
            raise StampError("unavailable")
        if not values:
            raise StampError("missing")
        # WSGI servers join several fields with commas (RFC 3875, 4.1.18), and a stamp has none.
        if len(values) > 1 or "," in values[0]:
            raise StampError("doubled")
        stamped = verify(values[0].strip(" \t"), self._keys, self.audience, self._issuer, self._leeway)
        if login and stamped.user is None:
            raise StampError("anonymous")
        return stamped
