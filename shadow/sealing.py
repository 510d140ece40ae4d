"""The two halves of a judgement when they are made in two places: the shipper redacts (Sealer), a shadow worker compares (PairJudge).

Both halves are shadow.judge's own, so that it comes to the same whether an exchange went through NATS or not; the worker needs no key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from shadow import markup
from shadow import rules as reviewed
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.headers import NOWHERE, Address
from shadow.judge import NO_RULES, About, Judge, Judgement, Opened
from shadow.normalise import MAX_DECODED, Body, Form, Json, Message, joined, parse_head, parse_json
from shadow.pack import Pair, PairSide, Told, size, told
from shadow.redact import Redactor
from shadow.request import kept


class Sealer:
    """Makes of an exchange what may leave this machine. Without state."""

    def __init__(self, redactor: Redactor, rules: dict[str, Rules], max_size: int) -> None:
        """`max_size`: about the bytes above which only the judgement travels."""
        self._redactor = redactor
        self._judge = Judge(redactor, rules)
        self._max_size = max_size

    def judge(self, exchange: Exchange, limit: int = MAX_DECODED) -> Pair | Told | None:
        """What is sent of `exchange`; None where there is a `limit` and it may take long, as shadow.judge.Judge.judge has it."""
        opened = self._judge.opened(exchange, limit)
        if opened is None:
            return None
        if isinstance(opened, Judgement):
            return told(opened)
        if not (opened.reference.body.veiled or opened.other.body.veiled):
            pair = self._pair(exchange, opened)
            if size(pair) <= self._max_size:
                return pair
        judgement = self._judge.compared(exchange, opened, hurried=limit < MAX_DECODED)
        return told(judgement) if judgement is not None else None

    def inconclusive(self, exchange: Exchange) -> Told:
        """The same of an exchange that nobody could redact within the budget."""
        return told(self._judge.inconclusive(exchange))

    def _pair(self, exchange: Exchange, opened: Opened) -> Pair:
        first, second = opened.answers
        return Pair(
            exchange.route,
            exchange.request_id,
            exchange.at,
            exchange.method,
            self._redactor.target(exchange.target),
            joined(parse_head(exchange.head), "host") or "",
            exchange.served.side,
            exchange.kind,
            self._side(first, opened.reference),
            self._side(second, opened.other),
            json.dumps(kept(exchange, self._redactor), separators=(",", ":")) if exchange.kind == "pair" else "",
        )

    def _side(self, answer: Answer, message: Message) -> PairSide:
        body = message.body
        return PairSide(
            message.upstream,
            message.status,
            message.headers,
            message.elapsed,
            message.error,
            message.skipped,
            body.form,
            body.text,
            cast("dict[str, list[str]]", body.value) if body.form is Form.FORM else None,
            b"" if body.digest else body.data,
            body.note,
            body.size,
            body.digest,
            self._redactor.digest(body.data) if body.data and not body.digest else "",
            len(answer.body),
            self._redactor.digest(answer.body) if answer.body else "",
        )


class _Comparing(Judge):
    """Judges what is redacted already."""

    def _request(self, about: About) -> tuple[str, str]:
        assert isinstance(about, Pair)  # noqa: S101 - PairJudge gives it nothing else
        return about.target, about.served

    def _kept(self, about: About, unread: bool) -> dict[str, Any]:
        assert isinstance(about, Pair)  # noqa: S101 - as above
        found: dict[str, Any] = json.loads(about.request)
        return found


class PairJudge:
    """Compares what a Sealer made, by the configuration's rules. Without state."""

    def __init__(self, rules: Mapping[str, Rules], more: Mapping[str, Sequence[reviewed.Rule]] | None = None) -> None:
        """`more`: the reviewed rules of each route."""
        self._rules = dict(rules)
        self._judge = _Comparing(Redactor([], b""), self._rules, more)

    def under(self, more: Mapping[str, Sequence[reviewed.Rule]]) -> PairJudge:
        """One that judges by the same configuration and these reviewed rules."""
        return PairJudge(self._rules, more)

    def judge(self, pair: Pair, limit: int = MAX_DECODED) -> Judgement | None:
        """The judgement; None where there is a `limit` and it may take long."""
        if limit < MAX_DECODED and max(pair.reference.size, pair.other.size) > limit:
            return None
        address = Address(pair.host, pair.target) if self._rules.get(pair.route, NO_RULES).resolve else NOWHERE
        opened = Opened(_message(pair.reference), _message(pair.other), address)
        return self._judge.compared(pair, opened, hurried=limit < MAX_DECODED)

    def inconclusive(self, pair: Pair) -> Judgement:
        """The judgement on a pair that nobody could compare within the budget."""
        return self._judge.undecided(pair, _unread(pair.reference), _unread(pair.other))


def _message(side: PairSide) -> Message:
    body = Body(side.form, side.data, _value(side), side.text, side.note, side.size, side.digest)
    return Message(side.status, side.headers, body, side.elapsed, side.error, side.skipped, side.upstream, side.keyed)


def _unread(side: PairSide) -> Message:
    body = Body(Form.OPAQUE, b"", note="over_budget", size=side.raw_size, digest=side.raw_digest)
    return Message(side.status, side.headers, body, side.elapsed, side.error, side.skipped, side.upstream)


def _value(side: PairSide) -> Json:
    """What shadow.normalise and redaction had made of the text."""
    if side.form is Form.FORM:
        return cast("Json", side.fields)
    if side.text is None:
        return None
    if side.form is Form.JSON:
        return parse_json(side.text.encode())[1]
    if side.form is Form.HTML:
        return cast("Json", markup.parse(side.text))
    return cast("Json", side.text.split("\n")) if side.form is Form.TEXT else None
