"""From an exchange to what is kept of it: redacted first, then compared, and only what differs remembered.

A Judgement is plain data without a secret in it: it may cross a process boundary, wait in a queue and be written to a database.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from shadow import request
from shadow.compare import MATCH, Difference, Kind, LongWorkError, Rules, Verdict, compare, compare_status, described, mismatch, skipped
from shadow.exchange import Answer, Exchange
from shadow.headers import NOWHERE, Address, differing
from shadow.normalise import MAX_DECODED, Body, Form, Message, joined, parse_head, read
from shadow.redact import Redactor
from shadow.signature import Signature, signatures

MAX_TEXT = 256 * 1024
"""Characters of a body that a sample keeps, as many as `capture` keeps bytes by default. Digest and size are those of the whole."""

NO_RULES = Rules()
OVER_BUDGET = "over_budget"
"""The path of an inconclusive comparison."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An exchange that differed, ready to be stored."""

    at: float
    request_id: str
    method: str
    target: str
    served: str
    legacy: dict[str, Any]
    candidate: dict[str, Any]
    differences: list[dict[str, Any]]
    cut: bool
    request: dict[str, Any] | None = None
    """shadow.request.kept."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one exchange adds to the counts, and what is shown of it."""

    route: str
    at: float
    noise: bool
    outcome: str
    """match, mismatch or skipped, as in shadow.compare.Verdict."""
    reason: str = ""
    signatures: tuple[Signature, ...] = ()
    sample: Sample | None = None


class About(Protocol):
    """What a judgement says of an exchange besides its answers: an Exchange, or what has become of one."""

    @property
    def route(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def method(self) -> str: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An exchange whose answers are decoded and redacted."""

    reference: Message
    other: Message
    address: Address
    answers: tuple[Answer, ...] = ()
    """The same two as they came."""


class Judge:
    """Redacts and compares by the configuration's rules. Without state: asked again, it says the same."""

    def __init__(self, redactor: Redactor, rules: dict[str, Rules]) -> None:
        self._redactor = redactor
        self._rules = rules

    def judge(self, exchange: Exchange, limit: int = MAX_DECODED) -> Judgement | None:
        """The judgement on `exchange`; None where there is a `limit` and comparing may take long: a body holds more bytes than that, or
        lists are much work."""
        opened = self.opened(exchange, limit)
        return self.compared(exchange, opened, hurried=limit < MAX_DECODED) if isinstance(opened, Opened) else opened

    def opened(self, exchange: Exchange, limit: int = MAX_DECODED) -> Opened | Judgement | None:
        """The first half: redacted, or a judgement already where all that is compared is the same before any parsing."""
        legacy, candidate = sides(exchange)
        rules = self._rules.get(exchange.route, NO_RULES)
        if _identical(legacy, candidate, rules):
            return self._judgement(exchange, MATCH)
        if limit < MAX_DECODED and max(len(legacy.body), len(candidate.body)) > limit:
            return None
        left, right = read(legacy, limit), read(candidate, limit)
        if limit < MAX_DECODED and "over_limit" in (left.body.note, right.body.note):
            return None
        left, right = self._redactor.message(left), self._redactor.message(right)
        return Opened(left, right, self._address(exchange) if rules.resolve else NOWHERE, (legacy, candidate))

    def compared(self, about: About, opened: Opened, *, hurried: bool) -> Judgement | None:
        """The second half. None: `hurried`, and it would take long."""
        left, right = opened.reference, opened.other
        rules = self._rules.get(about.route, NO_RULES)
        try:
            verdict = compare(left, right, rules, opened.address, hurried=hurried)
        except LongWorkError:
            return None
        if left.body.veiled or right.body.veiled:
            verdict = replace(verdict, differences=tuple(map(self._veiled, verdict.differences)))
        return self._judgement(about, verdict, left, right)

    def _veiled(self, difference: Difference) -> Difference:
        """A difference inside a body of which nothing may be shown: its place, and hashes of what stands there."""
        if not difference.path.startswith("$") or difference.kind is Kind.BODY:
            return difference
        legacy, candidate = (None if value is None else self._redactor.hash(value) for value in (difference.legacy, difference.candidate))
        return replace(difference, legacy=legacy, candidate=candidate)

    def inconclusive(self, exchange: Exchange) -> Judgement:
        """The judgement on an exchange that nobody could compare within the budget: a mismatch, with the digests of the bodies."""
        return self.undecided(exchange, *map(self._unread, sides(exchange)))

    def undecided(self, about: About, left: Message, right: Message) -> Judgement:
        """The same, of answers whose bodies are digests already."""
        verdict = compare_status(left, right) or mismatch(Kind.INCONCLUSIVE, OVER_BUDGET, described(left.body), described(right.body))
        return self._judgement(about, verdict, left, right)

    def _unread(self, answer: Answer) -> Message:
        """An answer whose body is only a digest, of its bytes as they came."""
        bodiless = Answer(answer.side, answer.upstream, answer.status, answer.head, b"", answer.elapsed, answer.error, answer.skipped)
        digest = self._redactor.digest(answer.body) if answer.body else ""
        body = Body(Form.OPAQUE, b"", note="over_budget", size=len(answer.body), digest=digest)
        return replace(self._redactor.message(read(bodiless, 0)), body=body)

    def _judgement(self, about: About, verdict: Verdict, legacy: Message | None = None, candidate: Message | None = None) -> Judgement:
        noise = about.kind == "noise"
        if noise and verdict.differences[:1] and verdict.differences[0].kind is Kind.UNANSWERED:
            verdict = skipped("reference_unanswered")  # the second answer of legacy: says nothing about its noise
        sample = None
        if verdict.outcome == "mismatch" and not noise and legacy is not None and candidate is not None:
            sample = Sample(
                about.at,
                about.request_id,
                about.method,
                *self._request(about),
                self._side(legacy),
                self._side(candidate),
                [_plain(difference) for difference in verdict.differences],
                verdict.cut,
                self._kept(about),
            )
        return Judgement(about.route, about.at, noise, verdict.outcome, verdict.reason, tuple(signatures(verdict.differences)), sample)

    def _request(self, about: About) -> tuple[str, str]:
        """The target, redacted, and the side that was served."""
        assert isinstance(about, Exchange)  # noqa: S101 - whoever has something else says how that is read
        return self._redactor.target(about.target), about.served.side

    def _kept(self, about: About) -> dict[str, Any]:
        """What is kept of the request besides."""
        assert isinstance(about, Exchange)  # noqa: S101 - as in _request
        return request.kept(about, self._redactor)

    def _address(self, exchange: Exchange) -> Address:
        # As redaction left it, which is how Location is left too.
        return Address(joined(parse_head(exchange.head), "host") or "", self._redactor.target(exchange.target))

    def _side(self, message: Message) -> dict[str, Any]:
        body = message.body
        text = body.text
        return {
            "upstream": message.upstream,
            "status": message.status,
            "error": message.error,
            "skipped": message.skipped,
            "elapsed": message.elapsed,
            "headers": [list(field) for field in message.headers],
            "form": body.form.value,
            "size": body.size,
            "note": body.note,
            "digest": body.digest or message.keyed or (self._redactor.digest(body.data) if body.data else ""),
            "text": text[:MAX_TEXT] if text is not None else None,
            "cut": text is not None and len(text) > MAX_TEXT,
        }


def sides(exchange: Exchange) -> tuple[Answer, Answer]:
    """(the reference, the other): legacy and candidate whichever was served, or legacy's first and second answer."""
    served, shadow = exchange.served, exchange.shadow
    return (shadow, served) if exchange.kind == "pair" and shadow.side == "legacy" and served.side != "legacy" else (served, shadow)


def _identical(legacy: Answer, candidate: Answer, rules: Rules) -> bool:
    """Whether all that is compared is the same before any parsing. Most pairs are, and nothing of them is kept."""
    if not (legacy.status == candidate.status != 0) or legacy.skipped or candidate.skipped or legacy.body != candidate.body:
        return False
    if legacy.head == candidate.head:
        return True
    left, right = parse_head(legacy.head), parse_head(candidate.head)
    return not any(differing(left, right, (*rules.headers, "content-encoding")))


def _plain(difference: Difference) -> dict[str, Any]:
    plain = {
        "kind": difference.kind.value,
        "path": difference.path,
        "legacy": difference.legacy,
        "candidate": difference.candidate,
    }
    return plain | {"candidate_path": difference.candidate_path} if difference.candidate_path else plain
