"""Ignored places go on being watched: where the candidate's type, shape or null rate is not legacy's, somebody is told.

Each exchange is a pair, so the question is one of marginal homogeneity: is the candidate a string where legacy is a number more often than
the other way round? Noise goes both ways and cancels out, a fault does not. Only pairs that disagree say anything about it (Q. McNemar,
"Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika 12, 1947, pages 153-157), which
is why equal values, most of the traffic, need not be counted at all. Of several types each two are tested by themselves, as in the test of
symmetry of A. H. Bowker (Journal of the American Statistical Association 43, 1948, pages 572-574).

The test is exact (binomial, p = 1/2) up to MAX_EXACT pairs, and beyond by the normal distribution with Edwards' correction. LEVEL is small,
because many places are tested once a minute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb, erfc, sqrt

from shadow.compare import Kind

LEVEL = 1e-4
"""Of a false alarm, two-sided, per test. Fifteen pairs that all go one way are enough, fourteen are not."""
MAX_EXACT = 1000
NOTHING = frozenset(("null", "absent"))


@dataclass(frozen=True, slots=True)
class Counted:
    """How often, in a place that is ignored, legacy was of one type and the candidate of another."""

    path: str
    legacy: str
    candidate: str
    count: int
    last_seen: float = 0.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A place in which the candidate is another than legacy."""

    kind: Kind
    path: str
    """A signature's: the place; of a drift, with the two types."""
    count: int
    """Exchanges that went this way."""
    against: int
    """Those that went the other way."""
    last_seen: float
    of: tuple[tuple[str, str, str], ...]
    """(path, legacy's type, candidate's) of what was counted."""


def alarms(counts: Iterable[Counted], level: float = LEVEL) -> list[Alarm]:
    """Where chance does not explain what was counted."""
    places: dict[str, list[Counted]] = {}
    for each in counts:
        places.setdefault(each.path, []).append(each)
    found = []
    for path, here in sorted(places.items()):
        gone = [each for each in here if each.candidate in NOTHING and each.legacy not in NOTHING]
        come = [each for each in here if each.legacy in NOTHING and each.candidate not in NOTHING]
        found += _alarm(Kind.NULL_RATE, path, path, gone, come, level)
        pairs = {frozenset((each.legacy, each.candidate)) for each in here if (each.legacy in NOTHING) is (each.candidate in NOTHING)}
        for one, other in sorted(tuple(sorted(pair)) for pair in pairs if len(pair) == 2):
            forth = [each for each in here if (each.legacy, each.candidate) == (one, other)]
            back = [each for each in here if (each.legacy, each.candidate) == (other, one)]
            more = forth if sum(each.count for each in forth) >= sum(each.count for each in back) else back
            found += _alarm(Kind.DRIFT, path, f"{path} {more[0].legacy}->{more[0].candidate}", forth, back, level)
    return found


def _alarm(kind: Kind, place: str, path: str, forth: list[Counted], back: list[Counted], level: float) -> list[Alarm]:
    one, other = (sum(each.count for each in side) for side in (forth, back))
    if p_value(one, other) >= level:
        return []
    more = forth if one >= other else back
    of = tuple((place, each.legacy, each.candidate) for each in more)
    return [Alarm(kind, path, max(one, other), min(one, other), max(each.last_seen for each in more), of)]


def p_value(one: int, other: int) -> float:
    """How likely a split at least as uneven as this is, if either way is as likely: McNemar's test, two-sided."""
    total = one + other
    if not total:
        return 1.0
    if total <= MAX_EXACT:
        tail = sum(comb(total, number) for number in range(min(one, other) + 1))
        return min(1.0, 2 * tail / (1 << total))
    return erfc(float(max(0, abs(one - other) - 1)) / sqrt(2 * total))


def key(path: str, legacy: str, candidate: str) -> str:
    """What a count is stored under: 32 hex digits."""
    return hashlib.sha256("\0".join((path, legacy, candidate)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
