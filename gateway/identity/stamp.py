"""The stamp: who is calling, signed, as each upstream gets it in Banyan-Identity (edge.md 53).

A stamp is for one upstream (its `aud`), so that one service cannot use at another what it was sent. It lives for seconds; the same one is
sent again during the first half of its life, so whatever arrives has at least the other half left, and a signature is paid for once in that
time, not once a request. Nobody known is stamped too: a service can tell `anonymous` from a request that did not come through the gateway.

Pure: no clock, no keys, no configuration. Whoever signs is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.policy.admission import Standing

FIELD: Final = b"Banyan-Identity"
OVERSIZED: Final = "stamp-oversized"
"""The event of a request that goes to an upstream without a stamp, since it would be longer than LONGEST."""
ENTRIES: Final = 20_000
"""Stamps that are remembered, of some 0.5 KB each."""
LONGEST: Final = 6 * 1024
"""Bytes of the token. Servers take lines of about 8 KB (gunicorn 8,190, nginx 8 KiB), and refuse the whole request beyond that."""
FRESH: Final = 0.5
"""The share of its life in which a stamp is sent again."""

Sign = Callable[[Mapping[str, object]], bytes]


class _Stamped:
    """A stamp that was made, and for whom."""

    __slots__ = ("begun", "caller", "line", "until")

    def __init__(self, caller: Caller, line: bytes, begun: float, until: float) -> None:
        self.caller = caller  # kept, so that nobody else comes to have its id
        self.line = line
        self.begun = begun
        self.until = until


class Stamps:
    """See the module's docstring. `ttl`: how long one is good, in seconds."""

    def __init__(self, sign: Sign, kid: str, issuer: str, ttl: float, entries: int = ENTRIES, domain: str = "") -> None:
        """`domain`: what they all name as that of the API which is asked; a service that calls through the gateway passes it on."""
        self.kid = kid
        self.issuer = issuer
        self.ttl = ttl
        self.signed = 0
        """Signatures so far."""
        self._named: dict[str, object] = {"domain": domain} if domain else {}
        self._sign = sign
        self._entries = entries
        # By identity: the sources remember callers as the objects that they are, and to look at what is in one costs ten times as much.
        # What is in it cannot change, so the same object is the same caller; and as long as it stands here, no other has its id.
        self._near: dict[tuple[int, str], _Stamped] = {}
        # By value: of two equal callers one signature is enough, and of all that are nobody.
        self._known: dict[tuple[object, ...], _Stamped] = {}

    def field(self, caller: Caller | None, upstream: str, now: float) -> bytes:
        """The field's line with its CRLF before it; b"" for None, of whom nothing is said, and for one that would be longer than LONGEST: a
        service refuses what is not stamped, and might take what is left of a stamp for all. `now`: Unix time.

        Found again, it costs 0.2 µs (measured); made anew, what the key costs (StampKey.sign).
        """
        if caller is None:
            return b""
        found = self._near.get((id(caller), upstream))
        if found is not None and found.begun <= now < found.until:
            return found.line
        return self._made(caller, upstream, now)

    def _made(self, caller: Caller, upstream: str, now: float) -> bytes:
        user = caller.user_id if caller.standing is Standing.KNOWN else None
        # Whoever comes without a cookie is another visitor each time: by that name nobody can be met again, and signatures could be run up.
        session = None if caller.fleeting else caller.session_id
        claims = caller.claims if user is not None else {}
        expires = None if user is None and session is None else caller.expires
        key = (upstream, user, session, expires, tuple(sorted(claims.items())))
        found = self._known.get(key)
        if found is None or not found.begun <= now < found.until:
            found = self._stamped(caller, _claims(user, session, claims), upstream, now, expires)
            _keep(self._known, key, found, self._entries)
        if found.line and (user is not None or session is not None or caller is ANONYMOUS):
            # The others are made for a request each, and would only push out those who come again.
            _keep(self._near, (id(caller), upstream), _Stamped(caller, found.line, found.begun, found.until), self._entries)
        return found.line

    def _stamped(self, caller: Caller, said: dict[str, object], upstream: str, now: float, expires: float | None) -> _Stamped:
        begun = int(now)
        end = begun + int(self.ttl)
        if expires is not None and expires < end:
            end = int(expires)
        token = self._sign({"iss": self.issuer, "aud": upstream, "iat": begun, "exp": end, **said, **self._named})
        self.signed += 1
        line = b"\r\n" + FIELD + b": " + token if len(token) <= LONGEST else b""
        return _Stamped(caller, line, float(begun), min(begun + FRESH * self.ttl, float(max(end, begun + 1))))


def _claims(user: str | None, session: str | None, claims: Mapping[str, str]) -> dict[str, object]:
    said: dict[str, object] = {}
    if user is not None:
        said["sub"] = user
    if session is not None:
        said["sid"] = session
    if claims:
        said["claims"] = dict(claims)
    return said


def _keep[Key](entries: dict[Key, _Stamped], key: Key, made: _Stamped, most: int) -> None:
    """As the youngest; the oldest give way."""
    entries.pop(key, None)
    while len(entries) >= most:
        del entries[next(iter(entries))]
    entries[key] = made
