"""A request as upstreams get it: what the client said, cleaned, and last what the gateway adds, so that nothing of that can be forged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.mitm.client import Ask
from gateway.mitm.fields import BODY_EXPECTED, Fields, Head, find, without
from gateway.policy.decision import Target


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, for whichever upstream."""

    head: Head
    request_id: bytes
    trace: bytes
    """The traceparent, b'' where the client's is among its fields."""
    forwarding: Fields
    stamp: Callable[[str], Fields]
    """Who calls, signed for the upstream of this name."""

    def target(self, target: Target) -> bytes:
        """The path and query as `target` gets them."""
        return self.head.target if target.rewrite is None else target.rewrite(self.head.target)

    def fields(self, target: Target) -> Fields:
        """All fields but those that frame a chunked body."""
        fields = self.head.fields
        if target.host is not None:
            fields = (*without(fields, b"host"), (b"Host", target.host))
        trace = ((b"traceparent", self.trace),) if self.trace else ()
        stamp = self.stamp(target.upstream)
        return (*fields, *self.forwarding, *trace, (b"X-Request-ID", self.request_id), *stamp, (b"Via", b"1.1 banyan"))

    def ask(self, target: Target, body: bytes, extra: Fields = ()) -> Ask:
        """For our own client, with the whole body at hand: what came in chunks gets a length."""
        return Ask(self.head.method, self.target(target), (*self.fields(target), *self.length(body), *extra), body)

    def length(self, body: bytes) -> Fields:
        """What frames a body that came without its length, now that it is whole. In HTTP/2 it may have been none at all."""
        head = self.head
        said = head.chunked and (body or not head.multiplexed or head.method in BODY_EXPECTED)
        return ((b"Content-Length", b"%d" % len(body)),) if said else ()


def forwarding(head: Head, peer: str, *, trusted: bool, secure: bool) -> Fields:
    """The fields that tell upstreams about the client. A trusted proxy's own stay, and the proxy is added to them."""
    added: list[tuple[bytes, bytes]] = []
    if peer != "unix":  # which is no address
        added.append((b"X-Forwarded-For", peer.encode("ascii", "replace")))
    present = head.fields if trusted else ()
    if find(present, b"x-forwarded-proto") is None:
        added.append((b"X-Forwarded-Proto", b"https" if secure else b"http"))
    if find(present, b"x-forwarded-host") is None:
        added.append((b"X-Forwarded-Host", head.host))
    return tuple(added)
