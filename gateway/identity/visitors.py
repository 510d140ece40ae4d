"""Visitors without an account: a signed cookie by which each of them stays the same to the flags.

Unleash's default stickiness falls back to the session, and without one to dice: a visitor would meet legacy and candidate by turns. The
cookie holds a random number and its signature, and nothing about its bearer. Signed, so that nobody makes numbers up until one falls on the
side that he wants, or has decisions remembered for each: a number costs a request. Whoever comes without a cookie throws the dice anew, and
may do so until he likes the outcome; nothing is remembered of him before he comes back with his cookie.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from gateway.identity.caller import Caller
from gateway.settings import Visitor

NOT_SET: Final = "visitor-cookie-not-set"
"""The event of an answer that goes out without the cookie of its visitor, since a shared cache may keep it."""
NOT_RENEWED: Final = "session-cookie-not-set"
"""The same of one that renews a session (gateway/identity/callers.py)."""
KNOWN_LIMIT: Final = 10_000
"""Cookies whose signature need not be computed again (3 µs); then it starts afresh."""
MOST_TRIED: Final = 4
"""Cookies of one request whose signature is looked at: one that a neighbouring site has set may stand before ours (RFC 6265, 5.4)."""
_ID_BYTES: Final = 12
_SIGNATURE_BYTES: Final = 15
_CONTROL: Final = re.compile(rb"\r\ncache-control:([^\r]*)", re.IGNORECASE)
_QUOTED: Final = re.compile(rb'"[^"]*"')
# RFC 9213 lets a cache's own field overrule Cache-Control; Surrogate-Control is the older word for the same.
_TARGETED: Final = re.compile(rb"\r\n(?:surrogate-control|[^\r:]*-cache-control):", re.IGNORECASE)
# RFC 9111, 4.2.1 and 4.2.2: what makes an answer fresh, by its own word or by a guess.
_FRESH: Final = re.compile(rb"\r\n(?:expires|last-modified):", re.IGNORECASE)


class Visitors:
    """`chance` makes that many random bytes, which nobody must guess: os.urandom."""

    def __init__(self, settings: Visitor, chance: Callable[[int], bytes]) -> None:
        self._key = settings.key.get_secret_value().encode()
        self._chance = chance
        name = settings.cookie.encode()
        cookie = re.escape(name) + rb"=([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{20})(?![^; \t\r])"
        self._cookie = re.compile(rb"\r\n(?i:cookie):(?:[^\r]*?[ \t;])?" + cookie)
        self._each = re.compile(rb"[:; \t]" + cookie)
        self._name = name
        self._attributes = b"; Max-Age=%d; Path=/; HttpOnly; SameSite=Lax" % settings.max_age
        self._known: dict[bytes, Caller] = {}

    def known(self, fields: bytes) -> Caller | None:
        """The visitor whose request has these field lines, each with its CRLF before it; None: one without a cookie of ours."""
        found = self._cookie.search(fields)
        if found is None:
            return None
        return self._signed(found[1], found[2]) or self._behind(fields, found.start())

    def new(self) -> tuple[Caller, bytes]:
        """A visitor who comes for the first time, and the cookie's name and value for his answer."""
        number = urlsafe_b64encode(self._chance(_ID_BYTES))
        return _caller(number, fleeting=True), self._name + b"=" + number + b"." + self._signature(number)

    def set_cookie(self, cookie: bytes, answer: bytes, *, secure: bool) -> bytes:
        """Set-Cookie for an answer with the lines `answer`; b"" where shared caches may keep it: they would hand out one cookie to all."""
        if not private(answer):
            return b""
        return cookie + self._attributes + (b"; Secure" if secure else b"")

    def _signed(self, number: bytes, signature: bytes) -> Caller | None:
        pair = number + signature
        known = self._known.get(pair)
        if known is None:
            if not hmac.compare_digest(signature, self._signature(number)):
                return None
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            known = self._known[pair] = _caller(number)
        return known

    def _behind(self, fields: bytes, start: int) -> Caller | None:
        """As `known`, where the first of these cookies, in the line at `start`, is not ours."""
        tried = 0
        for line in fields[start:].split(b"\r\n"):
            if line[:7].lower() != b"cookie:":
                continue
            for found in self._each.finditer(line):
                if tried and (caller := self._signed(found[1], found[2])) is not None:
                    return caller
                tried += 1
                if tried == MOST_TRIED:
                    return None
        return None

    def _signature(self, number: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(self._key, b"banyan visitor " + number, "sha256")[:_SIGNATURE_BYTES])


def private(answer: bytes) -> bool:
    """Does no shared cache keep an answer with these lines for others? Where that is not plain, it is said that one may."""
    if _TARGETED.search(answer) is not None:
        return False
    control = _QUOTED.sub(b"", b",".join(_CONTROL.findall(answer)))
    if b'"' in control:
        return False  # a quote that does not end: caches may read it in more than one way
    directives = [directive.strip(b" \t").lower() for directive in control.split(b",")]
    words = {directive.partition(b"=")[0] for directive in directives}
    if not words.isdisjoint((b"public", b"s-maxage")):
        return False
    # Whole directives: private="x" and no-cache="x" speak of the field x alone (RFC 9111, 5.2.2.4 and 5.2.2.7).
    if not {b"private", b"no-store", b"no-cache"}.isdisjoint(directives):
        return True
    return b"max-age" not in words and _FRESH.search(answer) is None


def _caller(number: bytes, *, fleeting: bool = False) -> Caller:
    return Caller(None, "visitor-" + number.decode(), fleeting=fleeting)  # no name that legacy gives a session
