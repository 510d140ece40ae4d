"""The statistical test that says whether a route may be promoted.

Seeing 100 matches out of 100 does not show 99.9 %: it shows 96.3 % or more, at 95 % confidence. The bound is Wilson's score interval (E.
B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical Association 22,
1927, pages 209-212), which, unlike the textbook's normal approximation, stays honest for shares near 1 and for few trials.

A share says nothing of what was never compared, nor that the one request in ten thousand that differs is harmless. So the gate also asks
how much was compared of what was to be, and that nobody has a difference still to look at or to mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

Z95 = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution between them."""


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The interval in which the true share lies, by Wilson's score. (0, 1) when nothing was tried: nothing is known."""
    if trials <= 0:
        return 0.0, 1.0
    share = successes / trials
    z2 = z * z / trials
    centre = (share + z2 / 2) / (1 + z2)
    spread = z / (1 + z2) * sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    lower = 0.0 if successes == 0 else max(0.0, centre - spread)
    upper = 1.0 if successes == trials else min(1.0, centre + spread)
    return lower, upper


class Terms(Protocol):
    """What a route's gate asks for: `[routes.gate]`."""

    @property
    def minimum(self) -> int:
        """Comparisons."""
        ...

    @property
    def match(self) -> float:
        """Of the match rate's lower bound."""
        ...

    @property
    def window(self) -> float:
        """Seconds: what is older does not count."""
        ...

    @property
    def coverage(self) -> float:
        """Share that has to have been compared."""
        ...


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether a route may be promoted, and if not, every reason why."""

    passed: bool
    compared: int
    matched: int
    lower: float
    """Lower end of the match rate's 95 % interval."""
    minimum: int
    required: float
    reasons: tuple[str, ...] = ()
    coverage: float | None = None
    """Of what was to be compared, the share that was; what sampling left out by chance is not counted. None: nothing was to be."""
    coverage_required: float = 0.0
    open: int = 0
    """Signatures that somebody has to look at, or to mend."""
    stale: float = 0.0
    """Share that was stale (shadow.freshness) of what was compared or stale."""
    missing: int | None = 0
    """Comparisons that would do for `minimum` and `required`, were all of them to match; None: no number of them would."""


MOST_STALE = 0.05
"""Of what was compared or stale: where a part changes as often as it is asked for, a difference in it may always be taken for a change that
is on its way. So much of a route may be like that."""
MOST = 10**9
"""Comparisons. A route that would need more than these is told that none would do."""
_NAMED = 3
"""Open signatures that a reason names."""


def gate(
    matched: int,
    compared: int,
    *,
    minimum: int,
    match: float,
    coverage: float | None = None,
    least_coverage: float = 0.0,
    signatures: Sequence[str] = (),
    stale: int = 0,
) -> GateResult:
    """The test for `matched` out of `compared`: at least `minimum` comparisons, the interval's lower end at `match` or above, `coverage` at
    `least_coverage` or above, no open signature, and no more than MOST_STALE `stale` ones beside those that were compared."""
    lower, _ = wilson(matched, compared)
    more = further(matched, compared, match)
    reasons: list[str] = []
    if compared < minimum:
        reasons.append(f"{compared} comparisons, {minimum} are needed")
    if lower < match:
        reasons.append(
            f"the match rate is at least {lower:.4%} (95 % confidence), {match:.4%} is needed{_would_do(matched, compared, more)}"
        )
    if coverage is not None and coverage < least_coverage:
        reasons.append(f"{coverage:.4%} of what was to be compared was, {least_coverage:.4%} is needed")
    if signatures:
        named = ", ".join(signatures[:_NAMED]) + (f" and {len(signatures) - _NAMED} more" if len(signatures) > _NAMED else "")
        reasons.append(f"{len(signatures)} signature{'' if len(signatures) == 1 else 's'} still open: {named}")
    share = stale / (compared + stale) if stale else 0.0
    if share > MOST_STALE:
        reasons.append(f"{share:.4%} of the answers were stale, {MOST_STALE:.4%} may be")
    missing = None if more is None else max(more, minimum - compared, 0)
    return GateResult(
        not reasons, compared, matched, lower, minimum, match, tuple(reasons), coverage, least_coverage, len(signatures), share, missing
    )


def further(matched: int, compared: int, match: float) -> int | None:
    """How many comparisons more would lift the interval's lower end to `match`, were all of them to match; None: not MOST either."""

    def enough(more: int) -> bool:
        return wilson(matched + more, compared + more)[0] >= match

    if enough(0):
        return 0
    if not enough(MOST):
        return None
    low, high = 0, 1  # each that matches lifts the bound, so it is found by halves
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _would_do(matched: int, compared: int, more: int | None) -> str:
    if more is None:
        return ""
    if matched == compared:
        return f": {compared + more} comparisons without a difference would show that"
    return f": {more} more without a difference would show that"
