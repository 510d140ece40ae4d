"""Who is at the other end of a client connection, and what upstreams and flags are told about it.

What is told stays the same from request to request, mostly, and so is made only when something in it changed.
"""

from __future__ import annotations

from collections.abc import Callable

from flags.snapshot import Context
from gateway.net.fields import values
from gateway.net.head import RequestHead
from gateway.policy.forwarded import client


def nobody(host: str) -> bool:
    """Whom a peer trusts of whom nothing is known."""
    return False


class Peer:
    """`host`: its address, or "unix". `secure`: it speaks TLS."""

    __slots__ = (
        "_address",
        "_context",
        "_fields",
        "_forwarding",
        "_host",
        "_method",
        "_secure",
        "_session_id",
        "_trusts",
        "_user_id",
        "host",
        "trusted",
    )

    def __init__(self, host: str, trusts: Callable[[str], bool], *, secure: bool = False) -> None:
        self.host = host
        self._secure = secure
        self.trusted = trusts(host)
        """It may say whom it has a request from."""
        self._trusts = trusts
        self._host: bytes | None = None
        self._fields: bytes | None = None
        self._forwarding = b""
        self._context: Context | None = None
        self._method = ""
        self._address = ""
        self._user_id: str | None = None
        self._session_id: str | None = None

    def forwarding(self, head: RequestHead) -> bytes:
        """The fields that tell the upstream about the client. A trusted proxy's own stay, and the proxy is added to them."""
        if head.host is self._host and (head.fields is self._fields or not self.trusted):
            return self._forwarding  # as long as the request's stay the same, and so the same objects
        parts: list[bytes] = []
        if self.host != "unix":  # which is no address
            parts += (b"\r\nX-Forwarded-For: ", self.host.encode("ascii", "replace"))
        present = head.fields.lower() if self.trusted else b""
        if not present or b"\r\nx-forwarded-proto:" not in present:
            parts.append(b"\r\nX-Forwarded-Proto: https" if self._secure else b"\r\nX-Forwarded-Proto: http")
        if not present or b"\r\nx-forwarded-host:" not in present:
            parts.append(b"\r\nX-Forwarded-Host: ")
            parts.append(head.host)
        self._host = head.host
        self._fields = head.fields
        self._forwarding = b"".join(parts)
        return self._forwarding

    def address(self, head: RequestHead) -> str:
        """The client's: the peer's, or where that is a trusted proxy, whom it has the request from."""
        return self.host if not self.trusted else client(self.host, values(head.fields, b"x-forwarded-for"), self._trusts)

    def context(self, method: str, address: str, user_id: str | None, session_id: str | None) -> Context:
        """Whom the flags are asked about."""
        context = self._context
        known = context is not None and self._method == method and self._address == address
        if context is None or not known or self._user_id != user_id or self._session_id != session_id:
            self._method, self._address, self._user_id, self._session_id = method, address, user_id, session_id
            context = self._context = Context(user_id, session_id, address, {"method": method})
        return context
