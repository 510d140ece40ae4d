"""The statistical test that says whether a candidate does so much worse than legacy that its flag is turned off.

Pure: figures of both sides in, a verdict out. It is asked once a second for as long as the flag is on, so what it calls a breach must be
no accident even among 86,400 looks a day: every comparison is of confidence bounds, never of the observed shares themselves.

- Errors: the lower end of Newcombe's interval for the difference of two shares (R. G. Newcombe, "Interval estimation for the difference
  between independent proportions: comparison of eleven methods", Statistics in Medicine 17, 1998, pages 873-890, method 10) is above what
  is allowed.
- Latency: a p95 lies between two order statistics, whose ranks are Wilson's bounds of 95 % (H. A. David, H. N. Nagaraja, "Order
  Statistics", 3rd edition, 2003, section 7.1). The lower of the candidate's is above what is allowed times the upper of legacy's.
- Mismatches: Wilson's lower bound of their share is above what is allowed.

And what was seen has to be spread over several seconds: a second in which everything fails is a restart, not a candidate that is worse.

Times are counted in buckets that grow by a constant factor, so that two figures can be added up and every quantile has a bounded relative
error (C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12,
2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, log, sqrt
from typing import Final, Literal

from shadow.gate import wilson

GROWTH: Final = 1.1
"""Each bucket's upper bound is this many times the one before: a time that is read back is wrong by less than 10 %."""
SHORTEST: Final = 0.0001
"""Seconds; what is shorter is in the first bucket."""
LAST: Final = 150
"""The last bucket: what is longer than two and a half minutes is in it."""

Z_SHARE: Final = 4.0
"""Standard deviations for errors and mismatches. With 3, a candidate as good as legacy, on a route with 5 % of errors and 5 requests a
second, was turned off about once a day in a simulation of 20 days; with 4, never (ADR 13)."""
Z_LATENCY: Final = 3.0
"""The same for each of the two p95. Both have to be off at once: for sides of the same size that is 3 times the root of 2: 4.2."""
QUANTILE: Final = 0.95
LEAST: Final = 8
"""Errors, or mismatches. Of few, Wilson's bounds promise more than they hold: 5 errors of 55 are some 24 times as likely by chance as they
say, where one in a hundred is usual."""
SPREAD: Final = 4
"""Seconds in which what is held against the candidate has to have happened. Workers tell once a second, each when it comes to it: so what
took one second is told in up to three."""
LEAST_DIFFERENCE: Final = 0.005
"""Seconds. Candidate and legacy are a connection and a turn of the event loop apart: 1.5 times one millisecond is nobody's loss."""


def bucket(seconds: float) -> int:
    """The bucket that a time is counted in, from 0 to LAST."""
    if seconds <= SHORTEST:
        return 0
    return min(LAST, ceil(log(seconds / SHORTEST) / log(GROWTH)))


def upper(number: int) -> float:
    """The longest time in a bucket, in seconds; its shortest is the same divided by GROWTH."""
    return float(SHORTEST * GROWTH**number)


@dataclass(slots=True)
class Figures:
    """What one side answered. Adding them up is always right."""

    requests: int = 0
    errors: int = 0
    """Of these requests: 5xx, and no (whole) answer."""
    times: dict[int, int] = field(default_factory=dict)
    """Bucket → answers, by the time from the request's being sent to the answer's head."""
    bad_seconds: int = 0
    """Seconds with errors in them."""

    def add(self, other: Figures) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.bad_seconds += other.bad_seconds
        for number, count in other.times.items():
            self.times[number] = self.times.get(number, 0) + count

    @property
    def error_rate(self) -> float | None:
        """None while there was nothing."""
        return self.errors / self.requests if self.requests else None

    @property
    def p95(self) -> float | None:
        """Seconds, the upper end of its bucket; None while there was nothing."""
        timed = sum(self.times.values())
        return upper(_at(self.times, ceil(QUANTILE * timed))) if timed else None


def total(parts: Iterable[Figures]) -> Figures:
    """All of them together."""
    whole = Figures()
    for part in parts:
        whole.add(part)
    return whole


@dataclass(slots=True)
class Comparisons:
    """What was compared in the window."""

    matched: int = 0
    mismatched: int = 0
    bad_seconds: int = 0
    """Seconds with mismatches in them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """[routes.guard]."""

    errors: float = 0.01
    latency: float = 1.5
    mismatch: float | None = None
    minimum: int = 50


State = Literal["breach", "healthy", "not-enough"]
Why = Literal["errors", "latency", "mismatch"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` and `text` are those of a breach, or of what there is not enough of."""

    state: State
    reason: Why | Literal[""] = ""
    text: str = ""


def judge(
    candidate: Figures,
    legacy: Figures | None,
    limits: Limits,
    *,
    parts: Iterable[Mapping[int, int]] = (),
    timed: Figures | None = None,
    compared: Comparisons | None = None,
) -> Verdict:
    """What the figures of one window say.

    `legacy` None: nothing is known of it, and it is taken to answer everything. `timed` is what its p95 is taken from, if that is not
    `legacy`. `parts`: the candidate's times second by second, or in parts of a few seconds, of which `candidate` has the sum.
    """
    if compared is not None and limits.mismatch is not None and (found := _mismatch(compared, limits.mismatch, limits.minimum)):
        return found
    if candidate.requests < limits.minimum:
        return Verdict("not-enough", text=f"{candidate.requests} requests to the candidate, {limits.minimum} are needed")
    return (
        _errors(candidate, legacy or Figures(), limits.errors) or _latency(candidate, timed or legacy, limits, parts) or Verdict("healthy")
    )


def difference(x1: int, n1: int, x2: int, n2: int, z: float) -> float:
    """The lower end of Newcombe's interval for x1/n1 - x2/n2. With n2 = 0 the second share is taken to be 0: nothing speaks for it."""
    share1, share2 = x1 / n1, x2 / n2 if n2 else 0.0
    low1, high2 = wilson(x1, n1, z)[0], wilson(x2, n2, z)[1] if n2 else 0.0
    return share1 - share2 - sqrt((share1 - low1) ** 2 + (high2 - share2) ** 2)


def _errors(candidate: Figures, legacy: Figures, allowed: float) -> Verdict | None:
    lower = difference(candidate.errors, candidate.requests, legacy.errors, legacy.requests, Z_SHARE)
    if lower <= allowed or candidate.errors < LEAST or candidate.bad_seconds < SPREAD:
        return None
    beside = f"legacy {_percent(legacy.errors, legacy.requests)}" if legacy.requests else "nothing is known of legacy's"
    text = f"errors: candidate {_percent(candidate.errors, candidate.requests)}, {beside}, {allowed:.2%} more are allowed"
    return Verdict("breach", "errors", text)


def _latency(candidate: Figures, legacy: Figures | None, limits: Limits, parts: Iterable[Mapping[int, int]]) -> Verdict | None:
    if legacy is None:
        return None
    mine, theirs = sum(candidate.times.values()), sum(legacy.times.values())
    if mine < limits.minimum or theirs < limits.minimum:
        return None
    low, _ = wilson(round(QUANTILE * mine), mine, Z_LATENCY)
    _, high = wilson(round(QUANTILE * theirs), theirs, Z_LATENCY)
    slowest_fair = upper(_at(legacy.times, min(theirs, ceil(high * theirs))))
    number = _at(candidate.times, max(1, int(low * mine)))
    allowed = max(limits.latency * slowest_fair, slowest_fair + LEAST_DIFFERENCE)
    if upper(number) / GROWTH <= allowed or sum(1 for times in parts if any(each >= number for each in times)) < SPREAD:
        return None
    # Both have one: there are `minimum` of each.
    text = (
        f"latency: candidate p95 {1000 * (candidate.p95 or 0):.0f} ms of {mine}, legacy {1000 * (legacy.p95 or 0):.0f} ms of {theirs}, "
        f"{limits.latency:g} times that is allowed"
    )
    return Verdict("breach", "latency", text)


def _mismatch(compared: Comparisons, allowed: float, minimum: int) -> Verdict | None:
    number = compared.matched + compared.mismatched
    if number < minimum or compared.mismatched < LEAST or compared.bad_seconds < SPREAD:
        return None
    if wilson(compared.mismatched, number, Z_SHARE)[0] <= allowed:
        return None
    return Verdict(
        "breach", "mismatch", f"mismatches: {_percent(compared.mismatched, number)} of what was compared, {allowed:.2%} is allowed"
    )


def _at(times: Mapping[int, int], rank: int) -> int:
    """The bucket that the answer of this rank is in, from 1 for the fastest."""
    seen = 0
    for number in sorted(times):
        seen += times[number]
        if seen >= rank:
            return number
    return LAST


def _percent(count: int, number: int) -> str:
    return f"{count / number:.2%} ({count} of {number})"
