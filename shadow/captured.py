"""An exchange as a recording has it: redacted by `[shadow] redact`, as everything is before it comes near a disk (shadow/redact.py)."""

from __future__ import annotations

from recorded.entry import Entry, Fields
from shadow.exchange import Exchange
from shadow.normalise import UNDECODED, Body, Form, Headers, Message, parse_head, read_body
from shadow.redact import Redactor
from shadow.request import passed_on

_FRAMING = frozenset(("content-length", "transfer-encoding"))


def entry(exchange: Exchange, redactor: Redactor, number: int) -> Entry:
    """The request, and the answer that its client got. A body of which redaction can't tell what in it is secret is left out."""
    asked, body = _kept(passed_on(parse_head(exchange.head)), exchange.body, redactor)
    answer = exchange.served
    fields, answer_body = _kept(parse_head(answer.head), answer.body, redactor)
    answered = answer.status != 0
    return Entry(
        number,
        exchange.method,
        redactor.target(exchange.target),
        exchange.at,
        asked,
        body,
        answer.status if answered else None,
        answer.elapsed if answered else None,
        len(answer.body) if answered and not answer.skipped else None,
        fields if answered else (),
        answer_body if answered and not answer.skipped else None,
    )


def _kept(headers: Headers, raw: bytes, redactor: Redactor) -> tuple[Fields, bytes | None]:
    """Without Content-Encoding, where that could be undone."""
    body = read_body(headers, raw)
    message = redactor.message(Message(0, headers, body))
    data = _data(body, message.body)
    gone = _FRAMING if body.note in UNDECODED else _FRAMING | {"content-encoding"}
    fields = tuple((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in message.headers if name not in gone)
    return fields, data


def _data(body: Body, redacted: Body) -> bytes | None:
    if body.form is Form.EMPTY:
        return b""
    if redacted is body or (redacted.form is body.form and redacted.data and redacted.value == body.value):
        return body.data  # to the byte: a form is written anew by redaction
    # Of what is no text redaction leaves a description, or nothing.
    return redacted.data if redacted.data and redacted.form is not Form.OPAQUE else None
