"""What of a request says who its caller is: a cookie, an Authorization field of one scheme, or either.

A credential that stands there twice is none: the gateway would read one and the upstream another, and whoever can set a cookie for a
neighbouring host would choose which (RFC 6265, 8.6). So is one that is longer than any honest one.
"""

from __future__ import annotations

import hashlib
from typing import Final

_SPACE: Final = 0x20
_COLON: Final = 0x3A
_SEMICOLON: Final = 0x3B
_EQUALS: Final = 0x3D
_COOKIE: Final = b"\r\ncookie:"
_AUTHORIZATION: Final = b"\r\nauthorization:"
LONGEST: Final = 8 * 1024
"""Bytes."""
_sha256: Final = hashlib.sha256


class CredentialError(Exception):
    """It cannot be used. `why` is a code, as Caller.why has it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Credential:
    """`cookie`: its name; `scheme`: that of Authorization (RFC 9110, 11.4), any case. Either may be empty: it is not looked at."""

    __slots__ = ("_begin", "_name", "_names", "cookie", "scheme")

    def __init__(self, cookie: str, scheme: str) -> None:
        self.cookie = cookie
        self.scheme = scheme
        self._names = f"{cookie}\0{scheme}\0".encode()
        self._name = cookie.encode()
        self._begin = self._name + b"="

    def read(self, fields: bytes) -> tuple[bytes, bytes]:
        """(the cookie's value, the token after the scheme), b"" for what is not there. `fields`: a head's lines, each with its CRLF before
        it.

        Raises:
            CredentialError: doubled, oversized, malformed.
        """
        cookie = token = b""
        if self._name:
            at = fields.find(self._name)
            if at >= 0:
                cookie = self._read_cookie(fields, at)
        if self.scheme:
            token = self._read_token(fields)
        if len(cookie) > LONGEST or len(token) > LONGEST:
            raise CredentialError("oversized")
        return cookie, token

    def key(self, cookie: bytes, token: bytes) -> bytes:
        """SHA-256 of what `read` has returned, and of where it stood: what is remembered under it could not be used to log in."""
        said = self._names + cookie  # which holds no NUL, as nothing in a head does
        if token:
            said += b"\0" + token
        return _sha256(said).digest()

    def cookie_key(self, cookie: bytes) -> bytes:
        """SHA-256 of the cookie's value alone: by it legacy ends whatever is remembered of that cookie, whichever token came with it, and
        whichever route's credential it was part of. In quotes it is the same cookie to Django."""
        if len(cookie) > 1 and cookie[:1] == cookie[-1:] == b'"':
            cookie = cookie[1:-1]
        return _sha256(b"cookie\0" + self._begin + cookie).digest()

    def _read_cookie(self, fields: bytes, at: int) -> bytes:
        """`at`: where its name stands for the first time."""
        # What nearly every request has: the name stands there once, and begins a pair of a Cookie line. By `find` that takes a fifth of the
        # time of the walk below.
        begin = at + len(self._begin)
        if begin <= len(fields) and fields[begin - 1] == _EQUALS and fields.find(self._name, begin) < 0 and self._begins_pair(fields, at):
            end = fields.find(b"\r", begin)
            if end < 0:
                end = len(fields)
            semicolon = fields.find(b";", begin, end)
            value = fields[begin : semicolon if semicolon >= 0 else end]
            return value.strip(b" \t") if value and (value[0] <= _SPACE or value[-1] <= _SPACE) else value
        found: bytes | None = None
        for line_of in fields.split(b"\r\n"):
            if line_of[:7].lower() != b"cookie:":
                continue
            for part in line_of[7:].split(b";"):
                pair = part.strip(b" \t")
                if pair.startswith(self._begin):
                    value = pair[len(self._begin) :].lstrip(b" \t")  # as above, and as Django
                    if found is not None and found != value:
                        raise CredentialError("doubled")
                    found = value
                elif self._name in pair and b"=" in pair and pair.partition(b"=")[0].decode(errors="replace").strip() == self.cookie:
                    # Django takes white space of any kind from a name, so that this is the session to it, and hides one before it.
                    raise CredentialError("malformed")
        return found or b""

    @staticmethod
    def _begins_pair(fields: bytes, at: int) -> bool:
        """Does what stands at `at` begin a pair of a Cookie line, after one space? False may also mean: not so plainly."""
        first = len(_COOKIE) + 1
        if at < first or fields[at - 1] != _SPACE:
            return False
        if fields[at - 2] == _COLON:
            return fields[at - first : at - 1].lower() == _COOKIE
        if fields[at - 2] != _SEMICOLON:
            return False
        line = fields.rfind(b"\r\n", 0, at)
        return line >= 0 and fields[line : line + len(_COOKIE)].lower() == _COOKIE

    def _read_token(self, fields: bytes) -> bytes:
        low = fields.lower()
        at = low.find(_AUTHORIZATION)
        if at < 0:
            return b""
        if low.find(_AUTHORIZATION, at + 1) >= 0:
            raise CredentialError("doubled")
        end = fields.find(b"\r\n", at + 2)
        value = (fields[at + len(_AUTHORIZATION) :] if end < 0 else fields[at + len(_AUTHORIZATION) : end]).strip(b" \t")
        scheme, _, rest = value.partition(b" ")
        return rest.strip(b" \t") if scheme.lower() == self.scheme.lower().encode() else b""
