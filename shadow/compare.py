"""The verdict on one exchange: match, mismatch with its differences, or skipped with its reason.

Legacy is the reference, whichever of the two was served. Status first: answers with different statuses differ in everything else too, and
only the status is worth a line; where one of them is a refusal the difference is told apart, for whom the candidate lets in is another
question than whether it works. Then the chosen headers. Then the body: equal bytes, else equal after parsing, else what is left after
rules.

What counts as equal in JSON: one number type (RFC 8259 section 6), so 1 equals 1.0 and they never differ in type; but true is not 1, "1"
is not 1, null is not a missing field. The order of an object's fields means nothing; the order of a list does, unless a rule says
otherwise.

A page is compared by its elements, attributes and text (shadow.markup), a text by its lines, a form by the values of each name in their
order, everything else by its bytes.

No input makes this raise: bodies come from shadow.normalise, which bounds their size and depth; where there is too much to align or to
report, the list of differences gets coarser or is cut short, and a mismatch stays one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from shadow.counters import STALE
from shadow.freshness import Freshness, Said
from shadow.headers import NOWHERE, Address, differing
from shadow.normalise import UNDECODED, Body, Form, Json, Message, joined
from shadow.paths import NO_PATTERNS, PatternSet
from shadow.scalars import Tolerance
from shadow.shapes import shape


class Kind(StrEnum):
    """In what way two answers differ. Closed: the console, the report and the database know exactly these."""

    STATUS = "status"
    AUTHORIZATION = "authorization"
    """One of them let somebody in, or told of something, where the other did not; or they refused it in different ways."""
    HEADER = "header"
    TYPE = "type"
    MISSING = "missing"
    """Legacy has it, the candidate has not."""
    EXTRA = "extra"
    """The candidate has it, legacy has not."""
    VALUE = "value"
    ORDER = "order"
    """The same elements in another order."""
    BODY = "body"
    """Bodies without a common inner form, compared whole."""
    UNANSWERED = "unanswered"
    """The candidate gave no answer; the path is the error's code."""
    INCONCLUSIVE = "inconclusive"
    """Comparing took more than its budget. Counted as a mismatch: never a silence."""
    DRIFT = "drift"
    """In a place that is ignored, the candidate has another type or shape than legacy: seen over many exchanges, and in none by itself."""
    NULL_RATE = "null-rate"
    """In a place that is ignored, the candidate is null, or not there, more or less often than legacy. As above."""


REFUSALS = frozenset((401, 403, 404))
"""Statuses that say who may see what: 404 is the answer about a thing of somebody else's, where its existence is a secret too."""


HEADERS = ("content-type", "cache-control", "location", "set-cookie")


@dataclass(frozen=True, slots=True)
class Rules:
    """The reviewed instructions for one route."""

    ignore: PatternSet = NO_PATTERNS
    unordered: PatternSet = NO_PATTERNS
    key: tuple[tuple[PatternSet, str], ...] = ()
    """Lists whose elements are aligned by a field."""
    tolerance: tuple[tuple[PatternSet, Tolerance], ...] = ()
    """Numbers that may be this far apart."""
    time: PatternSet = NO_PATTERNS
    """Texts that are equal where they name the same instant."""
    pattern: tuple[tuple[PatternSet, str], ...] = ()
    """Values that are new every time: equal where both look like this."""
    headers: tuple[str, ...] = HEADERS
    resolve: bool = False
    """Whether a relative Location equals the absolute one of the client's own host."""
    freshness: Freshness | None = None
    """Where answers say how fresh they are; None: they are compared as they stand."""
    passed: tuple[str, ...] = ()
    """Headers of which a rule says that they may differ; `set-cookie` means every cookie, `set-cookie: name` one."""
    reviewed: frozenset[str] = frozenset()
    """Which of all these are reviewed rules, as `rule_text` writes them; the others are the configuration's. What a reviewed one excuses is
    told by name, so that history can be counted anew when it ends."""

    @classmethod
    def make(
        cls,
        *,
        ignore: Sequence[str] = (),
        unordered: Sequence[str] = (),
        key: Mapping[str, str] | None = None,
        tolerance: Mapping[str, float | str] | None = None,
        time: Sequence[str] = (),
        pattern: Mapping[str, str] | None = None,
        headers: Sequence[str] = HEADERS,
        redirects: Literal["exact", "resolved"] = "exact",
        freshness: Mapping[str, Any] | None = None,
    ) -> Rules:
        """From the texts in the configuration.

        Raises:
            shadow.paths.PatternError: a path is not one.
            shadow.scalars.ToleranceError: a tolerance is not one.
            shadow.shapes.ShapeError: a pattern is not one.
        """
        return cls(
            PatternSet.parse(ignore),
            PatternSet.parse(unordered),
            tuple((PatternSet.parse([path]), name) for path, name in (key or {}).items()),
            tuple((PatternSet.parse([path]), Tolerance.parse(amount)) for path, amount in (tolerance or {}).items()),
            PatternSet.parse(time),
            tuple((PatternSet.parse([path]), _checked(text)) for path, text in (pattern or {}).items()),
            tuple(header.lower() for header in headers),
            redirects == "resolved",
            None if freshness is None else Freshness.make(**freshness),
        )


def rule_text(kind: str, path: str, value: object = "") -> str:
    """A rule's name: the same for two rules that say the same."""
    return f"{kind} {path} {value}" if value != "" else f"{kind} {path}"


def _checked(text: str) -> str:
    shape(text)
    return text


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs. `path` is its place in legacy's answer, or in the candidate's where legacy has none."""

    kind: Kind
    path: str
    legacy: Json = None
    candidate: Json = None
    candidate_path: str = ""
    """Its place in the candidate's answer, where list elements were aligned and it is another one."""


@dataclass(frozen=True, slots=True)
class Excused:
    """A difference that is none because a reviewed rule says so. Its path has [*] for every index."""

    kind: Kind
    path: str
    rule: str
    """As `rule_text` writes it."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Two things of different type or shape in a place that is ignored, as shadow.drift counts them."""

    path: str
    legacy: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What two bodies differ in, and what of it rules excuse."""

    differences: tuple[Difference, ...] = ()
    cut: bool = False
    excused: tuple[Excused, ...] = ()
    drifts: tuple[Drift, ...] = ()
    configured: bool = False
    """A rule of the configuration excused something."""
    whole: bool = True
    """Everything that a reviewed rule excused is listed."""


EQUAL = Findings()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of one exchange came to."""

    outcome: Literal["match", "mismatch", "skipped"]
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    """Why it was skipped."""
    cut: bool = False
    """There are more differences than are listed."""
    excused: tuple[Excused, ...] = ()
    """Differences that reviewed rules excuse."""
    drifts: tuple[Drift, ...] = ()
    configured: bool = False
    """A rule of the configuration excused something. Where nothing else did and it is a match, that is what it rests on."""
    whole: bool = True
    """Everything that a reviewed rule excused is listed."""


MATCH = Verdict("match")


class LongWorkError(Exception):
    """The comparison would take longer than where it was asked for."""


def mismatch(kind: Kind, path: str, legacy: Json = None, candidate: Json = None) -> Verdict:
    """A verdict with one difference."""
    return Verdict("mismatch", (Difference(kind, path, legacy, candidate),))


def skipped(reason: str) -> Verdict:
    """No verdict, and why."""
    return Verdict("skipped", reason=reason)


def compare(legacy: Message, candidate: Message, rules: Rules, address: Address = NOWHERE, *, hurried: bool = False) -> Verdict:
    """The verdict on two answers to one request, which was sent to `address`.

    Raises:
        LongWorkError: `hurried`, and telling reordered lists from others would take long.
    """
    early = compare_status(legacy, candidate)
    if early is not None:
        return early
    headers = differing(legacy.headers, candidate.headers, rules.headers, address if rules.resolve else NOWHERE)
    found: list[Difference] = []
    excused: list[Excused] = []
    for each in headers:
        rule = _passed(each[0], rules) if rules.passed else None
        if rule is None:
            found.append(Difference(Kind.HEADER, *each))
        else:
            excused.append(Excused(Kind.HEADER, each[0], rule_text("header", rule)))
    why = legacy.skipped or candidate.skipped
    if why:
        # One body or both are not here. What differs all the same is told; that the rest is equal can't be.
        return Verdict("mismatch", tuple(found), excused=tuple(excused)) if found else skipped(why)
    if _coded_otherwise(legacy, candidate):
        bodies = Findings((Difference(Kind.BODY, "$", described(legacy.body), described(candidate.body)),))
    else:
        bodies = compare_bodies(legacy.body, candidate.body, rules, hurried=hurried)
    if bodies is EQUAL and not found and not excused:
        return MATCH
    found += bodies.differences
    return Verdict(
        "mismatch" if found else "match",
        tuple(found),
        cut=bodies.cut,
        excused=(*excused, *bodies.excused),
        drifts=bodies.drifts,
        configured=bodies.configured,
        whole=bodies.whole,
    )


def without_stale(verdict: Verdict, legacy: Message, candidate: Message, freshness: Freshness, at: float) -> Verdict:
    """`verdict` on what was asked at `at` (Unix seconds), without what the candidate need not show yet. Where nothing else differs nothing
    is known: it is no match."""
    one, other = (Said(side.headers, side.body.value if side.body.form is Form.JSON else None) for side in (legacy, candidate))
    left = tuple(each for each in verdict.differences if each.kind not in _IN_PARTS or not freshness.stale(each.path, one, other, at))
    if len(left) == len(verdict.differences):
        return verdict
    if left:
        return replace(verdict, differences=left)
    # Of more differences than are listed, one may be somewhere else.
    return verdict if verdict.cut else skipped(STALE)


_IN_PARTS = frozenset((Kind.TYPE, Kind.MISSING, Kind.EXTRA, Kind.VALUE, Kind.ORDER))


def _coded_otherwise(legacy: Message, candidate: Message) -> bool:
    """Whether a Content-Encoding that could not be undone is on one body alone. The same bytes then do not mean the same: what one client
    reads, the other takes for broken."""
    if legacy.body.note not in UNDECODED and candidate.body.note not in UNDECODED:
        return False
    one, other = (joined(message.headers, "content-encoding") or "" for message in (legacy, candidate))
    return one.lower() != other.lower()


def _passed(name: str, rules: Rules) -> str | None:
    """The rule that lets the header `name` differ."""
    return next((rule for rule in rules.passed if name == rule or (rule == "set-cookie" and name.startswith("set-cookie: "))), None)


def compare_status(legacy: Message, candidate: Message) -> Verdict | None:
    """The verdict, where the statuses alone decide it."""
    if legacy.status == 0:
        return skipped("reference_unanswered")
    if candidate.status == 0:
        return mismatch(Kind.UNANSWERED, candidate.error or "unknown", legacy.status, None)
    if legacy.status != candidate.status:
        kind = Kind.STATUS if REFUSALS.isdisjoint((legacy.status, candidate.status)) else Kind.AUTHORIZATION
        return mismatch(kind, f"{legacy.status}->{candidate.status}", legacy.status, candidate.status)
    return None


def compare_bodies(legacy: Body, candidate: Body, rules: Rules, *, hurried: bool = False) -> Findings:
    """What two bodies differ in."""
    # Redaction may have left different things of the same bytes; where it was at work, it left a digest of them too.
    redacted = legacy.digest or candidate.digest
    if legacy.digest == candidate.digest if redacted else legacy.data == candidate.data:
        return EQUAL
    if legacy.form is candidate.form and legacy.form in _WITH_PARTS:
        from shadow.documents import differences  # DeepDiff takes 0.2 s to import, and most pairs are equal

        return differences(legacy.value, candidate.value, rules, hurried=hurried)
    return Findings((Difference(Kind.BODY, "$", described(legacy), described(candidate)),))


_WITH_PARTS = frozenset((Form.JSON, Form.FORM, Form.TEXT, Form.HTML))


def described(body: Body) -> str:
    """A body that can't be quoted: what it is, how long, and a digest by which to tell that two of them are equal."""
    digest = body.digest or (hashlib.sha256(body.data).hexdigest()[:32] if body.data else "")
    return f"{body.form}, {body.size} bytes" + (f", {body.note}" if body.note else "") + (f", digest {digest}" if digest else "")
