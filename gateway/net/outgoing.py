"""A request's head as an upstream gets it: the client's fields, less what must not pass, and after them what the gateway adds."""

from __future__ import annotations

from gateway.net.fields import without
from gateway.net.head import RequestHead
from gateway.policy.decision import Target


def request_head(
    head: RequestHead,
    target: Target,
    forwarding: bytes,
    request_id: bytes,
    trace: bytes,
    stamp: bytes,
    left: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    """The head with its empty line. `forwarding`: who the client is; `stamp`: who calls; `left`: how long the answer is waited for;
    `extra`: more fields. Each field has its CRLF before it. `trace`: the traceparent, b'' where the client's is among its fields and stays.

    What the gateway adds comes last, after everything that a client could have named or forged (edge.md 25). A mirrored request, which
    `extra` makes of it, has its body at hand and waits for no 100 Continue.
    """
    fields = head.fields
    if trace and head.traceparent:  # of a sampled request: the upstream's parent is ours, of the same trace
        fields = without(fields, frozenset((b"traceparent",)))
    if target.host is not None:
        fields = without(fields, frozenset((b"host",))) + b"\r\nHost: " + target.host
    path = head.target if target.rewrite is None else target.rewrite(head.target)
    end = b"\r\nVia: 1.1 banyan\r\n\r\n"
    if head.chunked or head.expect or head.upgrade or extra:
        upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: " + head.upgrade if head.upgrade else b""
        chunked = b"\r\nTransfer-Encoding: chunked" if head.chunked else b""
        expect = b"\r\nExpect: 100-continue" if head.expect and not extra else b""
        end = b"".join((upgrade, chunked, expect, extra, end))
    begin = b"\r\ntraceparent: " if trace else b""
    # One piece of memory, and no tuple of the parts: 1,300 instructions, where a join takes 3,000.
    return b"%b %b HTTP/1.1%b%b%b%b\r\nX-Request-ID: %b%b%b%b" % (
        head.method.encode(),
        path,
        fields,
        forwarding,
        begin,
        trace,
        request_id,
        stamp,
        left,
        end,
    )
