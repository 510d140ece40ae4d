"""The answers that the gateway itself writes: problem documents (RFC 9457)."""

from __future__ import annotations

import orjson

from gateway.policy.problems import Problem

REASONS = {
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}


def problem(
    kind: Problem, detail: str, request_id: str, *, close: bool, head_only: bool = False, challenge: bytes = b"", retry: int = 1
) -> bytes:
    """A whole response. `detail` is shown to the client: it must not quote what the client sent. `challenge`: for WWW-Authenticate.
    `retry`: after so many seconds, where the status says that it may be tried again."""
    body = orjson.dumps(
        {
            "type": f"urn:banyan:problem:{kind.value}",
            "title": kind.summary,
            "status": kind.status,
            "detail": detail,
            "request_id": request_id,
        }
    )
    extra = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if kind is Problem.METHOD else b""
    if challenge and kind.status == 401:
        extra += b"WWW-Authenticate: %b\r\n" % challenge
    if kind.status in (429, 503):
        extra += b"Retry-After: %d\r\n" % retry
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (kind.status, REASONS[kind.status]),
            b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\nContent-Length: %d\r\n" % len(body),
            b"Banyan-Error: %b\r\n" % kind.value.encode(),
            extra,
            b"Connection: close\r\n\r\n" if close else b"\r\n",
            b"" if head_only else body,
        )
    )
