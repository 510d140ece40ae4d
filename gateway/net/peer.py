"""Who is at the other end of a client connection, and what upstreams and flags are told about it.

What is told stays the same from request to request, mostly, and so is made only when something in it changed.
"""

from __future__ import annotations

from collections.abc import Callable

from flags.snapshot import Context
from gateway.identity.caller import Caller
from gateway.net.fields import values
from gateway.net.head import RequestHead
from gateway.policy.forwarded import client
from gateway.policy.properties import context


def nobody(host: str) -> bool:
    """Whom a peer trusts of whom nothing is known."""
    return False


class Peer:
    """`host`: its address, or "unix". `secure`: it speaks TLS."""

    __slots__ = (
        "_address",
        "_caller",
        "_context",
        "_fields",
        "_forwarding",
        "_host",
        "_method",
        "_route",
        "_secure",
        "_trusts",
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
        self._route = ""
        self._method = ""
        self._address = ""
        self._caller: Caller | None = None

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

    def by_https(self, head: RequestHead) -> bool:
        """Has the client's request come over TLS, here or before a trusted proxy?"""
        return self._secure or (self.trusted and values(head.fields, b"x-forwarded-proto")[:1] == [b"https"])

    def address(self, head: RequestHead) -> str:
        """The client's: the peer's, or where that is a trusted proxy, whom it has the request from."""
        return self.host if not self.trusted else client(self.host, values(head.fields, b"x-forwarded-for"), self._trusts)

    def context(self, head: RequestHead, route: str, address: str, caller: Caller) -> Context:
        """Whom and what the flags are asked about, where they read no header fields."""
        known = self._context
        same = known is not None and self._caller is caller and self._route == route and self._address == address
        if known is None or not same or self._method != head.method:
            self._route, self._method, self._address, self._caller = route, head.method, address, caller
            user, session, claims = caller.user_id, caller.session_id, caller.claims
            known = self._context = context(route, head.method, address, user, session, claims, {}, caller.fleeting)
        return known
