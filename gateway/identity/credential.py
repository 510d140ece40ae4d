"""What of a request says who its caller is: a cookie, an Authorization field of one scheme, or either.

A credential that stands there twice is none: the gateway would read one and the upstream another, and whoever can set a cookie for a
neighbouring host would choose which (RFC 6265, 8.6). So is one that is longer than any honest one.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

LONGEST: Final = 8 * 1024
"""Bytes."""


class CredentialError(Exception):
    """It cannot be used. `why` is a code, as Caller.why has it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Credential:
    """`cookie`: its name; `scheme`: that of Authorization (RFC 9110, 11.4), any case. Either may be empty: it is not looked at."""

    __slots__ = ("_authorization", "_cookie", "_names", "cookie", "scheme")

    def __init__(self, cookie: str, scheme: str) -> None:
        self.cookie = cookie
        self.scheme = scheme
        self._names = f"{cookie}\0{scheme}\0".encode()
        self._cookie = re.compile(rb"\r\n(?i:cookie):([^\r]*)") if cookie else None
        self._authorization = re.compile(rb"\r\n(?i:authorization):[ \t]*([^\r]*)") if scheme else None

    def read(self, fields: bytes) -> tuple[bytes, bytes]:
        """(the cookie's value, the token after the scheme), b"" for what is not there. `fields`: a head's lines, each with its CRLF before
        it.

        Raises:
            CredentialError: doubled, oversized, malformed.
        """
        cookie = token = b""
        if self._cookie is not None:
            cookie = self._read_cookie(fields)
        if self._authorization is not None:
            found = self._authorization.findall(fields)
            if found:
                if len(found) > 1:
                    raise CredentialError("doubled")
                scheme, _, rest = found[0].partition(b" ")
                if scheme.lower() == self.scheme.lower().encode():
                    token = rest.strip(b" \t")
        if len(cookie) > LONGEST or len(token) > LONGEST:
            raise CredentialError("oversized")
        return cookie, token

    def key(self, cookie: bytes, token: bytes) -> bytes:
        """SHA-256 of what `read` has returned, and of where it stood: what is remembered under it could not be used to log in."""
        return hashlib.sha256(b"%b%b\0%b" % (self._names, cookie, token)).digest()

    def _read_cookie(self, fields: bytes) -> bytes:
        assert self._cookie is not None  # noqa: S101 - its only caller looked
        bare = self.cookie.encode()
        name = bare + b"="
        value: bytes | None = None
        for line in self._cookie.findall(fields):
            if bare not in line:
                continue
            for part in line.split(b";"):
                pair = part.strip(b" \t")
                if pair.startswith(name):
                    if value is not None and value != pair[len(name) :]:
                        raise CredentialError("doubled")
                    value = pair[len(name) :]
                elif bare in pair and b"=" in pair and pair.partition(b"=")[0].decode(errors="replace").strip() == self.cookie:
                    # Django takes white space of any kind from a name, so that this is the session to it, and hides one before it.
                    raise CredentialError("malformed")
        return value or b""
