"""From an exchange to what is kept of it: redacted first, then compared, and only what differs remembered.

A Judgement is plain data without a secret in it: it may cross a process boundary, wait in a queue and be written to a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shadow import request
from shadow import rules as reviewed
from shadow.compare import (
    MATCH,
    Difference,
    Drift,
    Kind,
    LongWorkError,
    Rules,
    Verdict,
    compare,
    compare_status,
    described,
    mismatch,
    skipped,
    without_stale,
)
from shadow.exchange import Answer, Exchange
from shadow.headers import NOWHERE, Address, differing
from shadow.noise import Manner, manners, places
from shadow.normalise import MAX_DECODED, Body, Form, Message, joined, parse_head, read
from shadow.recompute import Combination, combination, resting
from shadow.redact import Redactor
from shadow.signature import Signature, generalise, signatures

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
    configured: bool = False
    """A match that rests on the configuration's rules."""
    combination: Combination | None = ()
    """What it showed, excused or not; () where it showed nothing, None where there is more than is known."""
    expected: tuple[Signature, ...] = ()
    """Signatures that reviewed rules excuse whole."""
    under: frozenset[str] = frozenset()
    """The reviewed rules that were in force, where one of them excused something."""
    drifts: tuple[Drift, ...] = ()
    """Types that were not the same in places that are ignored. Their sample is there though it is a match."""
    manners: Mapping[Signature, Manner] = field(default_factory=dict)
    """Of noise: how each signature differs."""
    places: frozenset[str] = frozenset()
    """Of noise: which places there are."""


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
    """Redacts and compares by the configuration's rules, and reviewed ones. Without state: asked again, it says the same."""

    def __init__(self, redactor: Redactor, rules: Mapping[str, Rules], more: Mapping[str, Sequence[reviewed.Rule]] | None = None) -> None:
        """`more`: the reviewed rules of each route."""
        self._redactor = redactor
        self._configured = rules
        self._rules = reviewed.per_route(rules, more) if more else rules

    def under(self, more: Mapping[str, Sequence[reviewed.Rule]]) -> Judge:
        """One that judges by the same configuration and these reviewed rules."""
        return Judge(self._redactor, self._configured, more)

    def judge(self, exchange: Exchange, limit: int = MAX_DECODED) -> Judgement | None:
        """The judgement on `exchange`; None where there is a `limit` and comparing may take long: a body holds more bytes than that, or
        lists are much work."""
        opened = self.opened(exchange, limit)
        return self.compared(exchange, opened, hurried=limit < MAX_DECODED) if isinstance(opened, Opened) else opened

    def opened(self, exchange: Exchange, limit: int = MAX_DECODED) -> Opened | Judgement | None:
        """The first half: redacted, or a judgement already where all that is compared is the same before any parsing."""
        legacy, candidate = sides(exchange)
        rules = self._ruling(exchange)
        if _identical(legacy, candidate, rules) and exchange.kind != "noise":  # of noise every place is counted, in what is the same too
            return self._judgement(exchange, MATCH)
        if limit < MAX_DECODED and (max(len(legacy.body), len(candidate.body)) > limit or not request.quick(exchange)):
            return None
        left, right = read(legacy, limit), read(candidate, limit)
        if limit < MAX_DECODED and "over_limit" in (left.body.note, right.body.note):
            return None
        left, right = self._redactor.message(left), self._redactor.message(right)
        return Opened(left, right, self._address(exchange) if rules.resolve else NOWHERE, (legacy, candidate))

    def _ruling(self, about: About) -> Rules:
        """Noise is evidence for rules, so reviewed ones do not hide it."""
        return (self._configured if about.kind == "noise" else self._rules).get(about.route, NO_RULES)

    def compared(self, about: About, opened: Opened, *, hurried: bool) -> Judgement | None:
        """The second half. None: `hurried`, and it would take long."""
        left, right = opened.reference, opened.other
        rules = self._ruling(about)
        try:
            verdict = compare(left, right, rules, opened.address, hurried=hurried)
        except LongWorkError:
            return None
        if rules.freshness is not None and verdict.differences and about.kind != "noise":
            verdict = without_stale(verdict, left, right, rules.freshness, about.at)
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
        return self._judgement(about, verdict, left, right, unread=True)

    def _unread(self, answer: Answer) -> Message:
        """An answer whose body is only a digest, of its bytes as they came."""
        bodiless = Answer(answer.side, answer.upstream, answer.status, answer.head, b"", answer.elapsed, answer.error, answer.skipped)
        digest = self._redactor.digest(answer.body) if answer.body else ""
        body = Body(Form.OPAQUE, b"", note="over_budget", size=len(answer.body), digest=digest)
        return replace(self._redactor.message(read(bodiless, 0)), body=body)

    def _judgement(
        self, about: About, verdict: Verdict, legacy: Message | None = None, candidate: Message | None = None, *, unread: bool = False
    ) -> Judgement:
        noise = about.kind == "noise"
        if noise and verdict.differences[:1] and verdict.differences[0].kind is Kind.UNANSWERED:
            verdict = skipped("reference_unanswered")  # the second answer of legacy: says nothing about its noise
        sample = None
        if (verdict.outcome == "mismatch" or verdict.drifts) and not noise and legacy is not None and candidate is not None:
            sample = Sample(
                about.at,
                about.request_id,
                about.method,
                *self._request(about),
                self._side(legacy),
                self._side(candidate),
                [_plain(difference) for difference in verdict.differences],
                verdict.cut,
                self._kept(about, unread),
            )
        named = tuple(signatures(verdict.differences))
        judgement = Judgement(about.route, about.at, noise, verdict.outcome, verdict.reason, named, sample, verdict.configured)
        if noise:
            there = [message.body.value for message in (legacy, candidate) if message is not None and message.body.form is Form.JSON]
            return replace(judgement, manners=manners(verdict.differences), places=places(*there))
        if named:
            judgement = replace(judgement, combination=None if verdict.cut else combination(named))
        if verdict.excused:
            under = self._rules.get(about.route, NO_RULES).reviewed
            whole = tuple({each: None for each in map(reviewed.excused_whole, verdict.excused) if each is not None})
            judgement = replace(judgement, combination=_combination(named, verdict, under), expected=whole, under=under)
        if verdict.drifts:
            drifts = {replace(drift, path=generalise(drift.path)): None for drift in verdict.drifts}
            judgement = replace(judgement, drifts=tuple(drifts))
        return judgement

    def _request(self, about: About) -> tuple[str, str]:
        """The target, redacted, and the side that was served."""
        assert isinstance(about, Exchange)  # noqa: S101 - whoever has something else says how that is read
        return self._redactor.target(about.target), about.served.side

    def _kept(self, about: About, unread: bool) -> dict[str, Any]:
        """What is kept of the request besides. `unread`: there was no time for its body."""
        assert isinstance(about, Exchange)  # noqa: S101 - as in _request
        return request.kept(about, self._redactor, unread=unread and not request.quick(about))

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


def _combination(named: tuple[Signature, ...], verdict: Verdict, under: frozenset[str]) -> Combination | None:
    if verdict.cut:
        return None
    if verdict.whole:
        return combination(named, verdict.excused)
    # More was excused than is listed: it stays so while all the rules do.
    return tuple(sorted({*combination(named), *resting(under)}))


def _plain(difference: Difference) -> dict[str, Any]:
    plain = {
        "kind": difference.kind.value,
        "path": difference.path,
        "legacy": difference.legacy,
        "candidate": difference.candidate,
    }
    return plain | {"candidate_path": difference.candidate_path} if difference.candidate_path else plain
