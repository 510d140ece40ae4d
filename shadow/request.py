"""What a sample keeps of the request: as much as asking again takes, redacted as everything is, and nothing of who called.

Authorization and Cookie never come this far (gateway/net/lines.py). Of the other fields those are left out that the gateway itself would
not pass on, and the addresses and traces that are one caller's; a field whose name sounds like a credential, or holds a name that
is redacted in bodies (X-User-Email), becomes a hash.
"""

from __future__ import annotations

from typing import Any

from gateway.request_fields import BELIEVED, never_passed_on
from shadow.exchange import Exchange
from shadow.normalise import UNDECODED, Body, Form, Headers, Message, parse_head, read_body
from shadow.redact import Redactor

MAX_BODY = 256 * 1024
"""Bytes after decompression. A longer body is a digest: what was captured is 64 KiB by default (`replay_buffer`)."""
QUICK_BYTES = 8 * 1024

_LEFT_OUT = BELIEVED | {"content-length"}


def quick(exchange: Exchange) -> bool:
    """Whether `kept` takes next to no time, whatever is in the body. A few hundred bytes that are compressed may be a second's work."""
    return not exchange.body or (len(exchange.body) <= QUICK_BYTES and b"content-encoding" not in exchange.head.lower())


def kept(exchange: Exchange, redactor: Redactor, *, unread: bool = False) -> dict[str, Any]:
    """Headers and body of the request, in the shape in which a sample keeps those of an answer, and whether a user called. `unread`: of
    the body nothing but a digest of its bytes as they came, since it could not be read within a budget."""
    fields = parse_head(exchange.head)
    if unread:
        message = redactor.message(Message(0, passed_on(fields), Body(Form.EMPTY, b"")))
        return {
            "headers": [list(field) for field in message.headers],
            "form": Form.OPAQUE.value,
            "size": len(exchange.body),
            "note": "over_budget",
            "digest": redactor.digest(exchange.body),
            "text": None,
            "decoded": False,
            "caller": exchange.caller,
        }
    message = redactor.message(Message(0, passed_on(fields), read_body(fields, exchange.body, MAX_BODY)))
    body = message.body
    text = body.text if body.text is None or "\0" not in body.text else None  # no shell can hold that
    return {
        "headers": [list(field) for field in message.headers],
        "form": body.form.value,
        "size": body.size if body.form is not Form.EMPTY else 0,
        "note": body.note,
        "digest": body.digest or (redactor.digest(body.data) if body.data else ""),
        "text": text,
        "decoded": body.note not in UNDECODED,
        "caller": exchange.caller,
    }


def passed_on(fields: Headers) -> Headers:
    """Without what the gateway itself would not pass on, and what is one caller's: addresses and traces."""
    return tuple((name, value) for name, value in fields if name not in _LEFT_OUT and not never_passed_on(name))
