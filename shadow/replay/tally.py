"""What a replay has found so far, route by route: bounded by what it counts, and plain enough to be written to a file and read again."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from recorded.entry import Trouble
from shadow.batch import MAX_SIGNATURES, OTHER
from shadow.compare import Kind
from shadow.examples import Example, Shown, example
from shadow.exchange import Answer
from shadow.judge import Judgement
from shadow.latency import BUCKETS, SHADOW, SideFigures
from shadow.noise import Manner
from shadow.signature import Signature
from shadow.suggest import MARGIN, MIN_DIFFERENT, MIN_PAIRS, Evidence, excess

MAX_COMBINATIONS: Final = 500
"""Sets of signatures of one route that are told apart. What shows another is counted, and is never noise."""
MAX_TROUBLES: Final = 20
"""Entries that could not be read, of which it is said what was wrong. All are counted."""
SPAN: Final = 10
"""Seconds, by which pairs are counted over time."""
MAX_SPANS: Final = 20_000
FEWEST: Final = 2
"""Times that legacy was asked again after a difference, below which nothing is said: one may be chance."""
ENOUGH: Final = 20
"""… and above which nobody asks any more."""
AGAIN: Final = 0.9
"""Of these times, the share in which legacy showed the difference by itself, from which on it is noise."""
_STEADY: Final = frozenset((Kind.STATUS, Kind.AUTHORIZATION, Kind.UNANSWERED, Kind.INCONCLUSIVE))
"""Kinds that are never noise: who may see what, and whether there is an answer at all, is not to be left to chance."""


@dataclass(slots=True)
class Seen:
    """One signature."""

    count: int = 0
    """Pairs."""
    first: float = 0.0
    last: float = 0.0
    example: Example | None = None
    own: int = 0
    """Of the pairs of legacy's own answers that were asked for whatever was found, those that showed it."""
    asked: int = 0
    """How often legacy was asked again because a pair had shown it …"""
    again: int = 0
    """… and then differed from itself in the same."""


@dataclass(slots=True)
class RouteTally:
    """One route's."""

    matched: int = 0
    configured: int = 0
    """Of `matched`, those that rest on the configuration's rules."""
    mismatched: int = 0
    """Noise or not: that is known at the end."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By reason: left out, or asked and not compared."""
    noise_pairs: int = 0
    """Pairs of legacy's own answers, asked for whatever was found."""
    noise_different: int = 0
    proof_pairs: int = 0
    """Such pairs that were asked for because a pair differed."""
    proof_different: int = 0
    signatures: dict[Signature, Seen] = field(default_factory=dict)
    combinations: Counter[tuple[Signature, ...]] = field(default_factory=Counter)
    """Of `mismatched`, those that showed exactly these."""
    times: dict[str, Counter[int]] = field(default_factory=dict)
    """By side: bucket (shadow.latency.BUCKETS) → answers."""
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Upstream and code, with a space between, of those that gave no answer."""
    spans: dict[int, list[int]] = field(default_factory=dict)
    """Begin of each span → matched, mismatched, skipped."""

    @property
    def compared(self) -> int:
        """With what noise explains."""
        return self.matched + self.mismatched

    @property
    def entries(self) -> int:
        """That belong to it."""
        return self.compared + sum(self.skipped.values())

    def skip(self, reason: str, at: float) -> None:
        self.skipped[reason] += 1
        self._span(at)[2] += 1

    def judged(self, judgement: Judgement) -> None:
        """What came of one pair."""
        if judgement.noise:
            self._noise(judgement)
            return
        at = judgement.at
        if judgement.outcome == "skipped":
            self.skip(judgement.reason, at)
            return
        if judgement.outcome == "match":
            self.matched += 1
            self.configured += judgement.configured
            self._span(at)[0] += 1
            return
        self.mismatched += 1
        self._span(at)[1] += 1
        for signature in judgement.signatures:
            seen = self._seen(signature)
            seen.first = min(seen.first, at) if seen.count else at
            seen.last = max(seen.last, at)
            seen.count += 1
            if seen.example is None and judgement.sample is not None:
                seen.example = example(judgement.sample, (signature[0].value, signature[1]))
        key = tuple(sorted(judgement.signatures)) if judgement.combination is not None else ()
        if key and (key in self.combinations or len(self.combinations) < MAX_COMBINATIONS):
            self.combinations[key] += 1

    def unsure(self, signatures: Iterable[Signature]) -> bool:
        """Whether legacy should be asked again, to know if these are its own."""
        known = (self.signatures.get(signature) for signature in signatures if signature[0] not in _STEADY)
        return any(seen is not None and seen.asked < ENOUGH for seen in known)

    def proved(self, signatures: Iterable[Signature], judgement: Judgement) -> None:
        """Legacy was asked again after a pair that showed `signatures`."""
        if judgement.outcome == "skipped":
            return
        self.proof_pairs += 1
        self.proof_different += judgement.outcome == "mismatch"
        for signature in signatures:
            seen = self._seen(signature)
            seen.asked += 1
            seen.again += signature in judgement.signatures

    def answered(self, answer: Answer) -> None:
        """How long it took, and whether it was one."""
        side = SHADOW + answer.side
        if answer.status == 0:
            self.errors[side] += 1
            self.unanswered[side] += 1
            self.failures[f"{answer.upstream} {answer.error}"] += 1
            return
        self.errors[side] += answer.status >= 500
        if not answer.skipped:
            self.times.setdefault(side, Counter())[bisect_left(BUCKETS, answer.elapsed)] += 1

    def _noise(self, judgement: Judgement) -> None:
        if judgement.outcome == "skipped":
            return
        self.noise_pairs += 1
        self.noise_different += judgement.outcome == "mismatch"
        for signature in judgement.signatures:
            self._seen(signature).own += 1

    def _seen(self, signature: Signature) -> Seen:
        if signature not in self.signatures and len(self.signatures) >= MAX_SIGNATURES:
            signature = (signature[0], OTHER)
        return self.signatures.setdefault(signature, Seen())

    def _span(self, at: float) -> list[int]:
        begin = int(at) // SPAN * SPAN
        if begin not in self.spans and len(self.spans) >= MAX_SPANS:
            begin = max(self.spans)
        return self.spans.setdefault(begin, [0, 0, 0])

    # What it comes to

    @property
    def noise(self) -> frozenset[Signature]:
        """Signatures that legacy shows against itself, too.

        Either whenever it is asked again, or about as often as the candidate against it: by as many of its own pairs, and by the same
        statistics, as a suggestion of a rule needs (shadow.suggest). In doubt it is none.
        """
        return frozenset(signature for signature, seen in self.signatures.items() if self._is_noise(signature, seen))

    def _is_noise(self, signature: Signature, seen: Seen) -> bool:
        kind, path = signature
        if kind in _STEADY or path == OTHER:
            return False
        if seen.asked >= FEWEST and seen.again >= AGAIN * seen.asked:
            return True
        if self.noise_pairs < MIN_PAIRS or seen.own < MIN_DIFFERENT:
            return False
        pairs = self.noise_pairs
        evidence = Evidence(path, pairs, pairs, {kind: seen.own}, Manner(), seen.first, seen.last, self.compared, seen.count)
        return excess(evidence) <= MARGIN

    def noisy(self, noise: frozenset[Signature]) -> int:
        """Of `mismatched`, those that showed nothing else."""
        return sum(count for members, count in self.combinations.items() if noise.issuperset(members))

    def figures(self) -> dict[str, SideFigures]:
        """By side."""
        sides = {*self.times, *self.errors}
        return {side: SideFigures(dict(self.times.get(side, {})), self.errors[side], self.unanswered[side]) for side in sorted(sides)}


@dataclass(slots=True)
class Tally:
    """All of it."""

    read: int = 0
    """Entries of the recording that are done with, those that cannot be read among them: the first so many."""
    unread: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason: of what belongs to no route that is compared."""
    routes: dict[str, RouteTally] = field(default_factory=dict)

    def route(self, name: str) -> RouteTally:
        found = self.routes.get(name)
        if found is None:
            found = self.routes[name] = RouteTally()
        return found

    def trouble(self, trouble: Trouble) -> None:
        self.unread += 1
        if len(self.troubles) < MAX_TROUBLES:
            self.troubles.append(trouble)

    @property
    def compared(self) -> int:
        return sum(route.compared for route in self.routes.values())


def plain(tally: Tally) -> dict[str, Any]:
    """As JSON can hold it."""
    return {
        "read": tally.read,
        "unread": tally.unread,
        "troubles": [asdict(each) for each in tally.troubles],
        "left_out": dict(tally.left_out),
        "routes": {name: _plain(route) for name, route in tally.routes.items()},
    }


def read(told: dict[str, Any]) -> Tally:
    """What `plain` made.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is something else.
    """
    tally = Tally(int(told["read"]), int(told["unread"]), [Trouble(**each) for each in told["troubles"]], Counter(told["left_out"]))
    tally.routes = {name: _route(route) for name, route in told["routes"].items()}
    return tally


def _plain(route: RouteTally) -> dict[str, Any]:
    return {
        "matched": route.matched,
        "configured": route.configured,
        "mismatched": route.mismatched,
        "skipped": dict(route.skipped),
        "noise_pairs": route.noise_pairs,
        "noise_different": route.noise_different,
        "proof_pairs": route.proof_pairs,
        "proof_different": route.proof_different,
        "signatures": [[kind, path, asdict(seen)] for (kind, path), seen in route.signatures.items()],
        "combinations": [[[list(each) for each in members], count] for members, count in route.combinations.items()],
        "times": [[side, bucket, count] for side, times in route.times.items() for bucket, count in times.items()],
        "errors": dict(route.errors),
        "unanswered": dict(route.unanswered),
        "failures": dict(route.failures),
        "spans": [[at, *counts] for at, counts in route.spans.items()],
    }


def _route(told: dict[str, Any]) -> RouteTally:
    route = RouteTally(
        int(told["matched"]),
        int(told["configured"]),
        int(told["mismatched"]),
        Counter(told["skipped"]),
        int(told["noise_pairs"]),
        int(told["noise_different"]),
        int(told["proof_pairs"]),
        int(told["proof_different"]),
        {(Kind(kind), path): _seen(seen) for kind, path, seen in told["signatures"]},
        Counter({_members(members): count for members, count in told["combinations"]}),
        errors=Counter(told["errors"]),
        unanswered=Counter(told["unanswered"]),
        failures=Counter(told["failures"]),
        spans={int(at): [int(count) for count in counts] for at, *counts in told["spans"]},
    )
    for side, bucket, count in told["times"]:
        route.times.setdefault(side, Counter())[int(bucket)] = int(count)
    return route


def _members(members: Iterable[Iterable[str]]) -> tuple[Signature, ...]:
    return tuple((Kind(kind), path) for kind, path in members)


def _seen(told: dict[str, Any]) -> Seen:
    shown = told["example"]
    if shown is not None:
        differences = tuple(Shown(**each) for each in shown["differences"])
        shown = Example(**(shown | {"differences": differences, "notes": tuple(shown["notes"])}))
    return Seen(int(told["count"]), told["first"], told["last"], shown, *(int(told[name]) for name in ("own", "asked", "again")))
