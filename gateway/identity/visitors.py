"""Visitors without an account: a signed cookie by which each of them stays the same to the flags.

Unleash's default stickiness falls back to the session, and without one to dice: a visitor would meet legacy and candidate by turns. The
cookie holds a random number and its signature, and nothing about its bearer. Signed, because without it whoever makes up numbers could
choose a side, and fill what is remembered of decisions.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from gateway.identity.callers import Caller
from gateway.settings import Visitor

KNOWN_LIMIT: Final = 10_000
"""Cookies whose signature need not be computed again (3 µs); then it starts afresh."""
_ID_BYTES: Final = 12
_SIGNATURE_BYTES: Final = 15
_SHAREABLE: Final = re.compile(rb"\r\ncache-control:[^\r]*\b(?:public|s-maxage)\b", re.IGNORECASE)


class Visitors:
    """`chance` makes that many random bytes, which nobody must guess: os.urandom."""

    def __init__(self, settings: Visitor, chance: Callable[[int], bytes]) -> None:
        self._key = settings.key.get_secret_value().encode()
        self._chance = chance
        name = settings.cookie.encode()
        value = rb"=([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{20})(?![^; \t\r])"
        self._cookie = re.compile(rb"\r\n(?i:cookie):(?:[^\r]*?[ \t;])?" + re.escape(name) + value)
        self._name = name
        self._attributes = b"; Max-Age=%d; Path=/; HttpOnly; SameSite=Lax" % settings.max_age
        self._known: dict[bytes, Caller] = {}

    def known(self, fields: bytes) -> Caller | None:
        """The visitor whose request has these field lines, each with its CRLF before it; None: one without a cookie of ours."""
        found = self._cookie.search(fields)
        if found is None:
            return None
        number, signature = found[1], found[2]
        pair = number + signature
        known = self._known.get(pair)
        if known is None:
            if not hmac.compare_digest(signature, self._signature(number)):
                return None
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            known = self._known[pair] = _caller(number)
        return known

    def new(self) -> tuple[Caller, bytes]:
        """A visitor who comes for the first time, and the cookie's name and value for his answer."""
        number = urlsafe_b64encode(self._chance(_ID_BYTES))
        return _caller(number), self._name + b"=" + number + b"." + self._signature(number)

    def set_cookie(self, cookie: bytes, answer: bytes, *, secure: bool) -> bytes:
        """Set-Cookie for an answer with the lines `answer`; b"" where shared caches may keep it: they would hand out one cookie to all."""
        if _SHAREABLE.search(answer) is not None:
            return b""
        return cookie + self._attributes + (b"; Secure" if secure else b"")

    def _signature(self, number: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(self._key, b"banyan visitor " + number, "sha256")[:_SIGNATURE_BYTES])


def _caller(number: bytes) -> Caller:
    return Caller(None, "visitor-" + number.decode())  # no name that legacy gives a session
