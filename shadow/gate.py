"""The statistical test that says whether a route may be promoted.

Seeing 100 matches out of 100 does not show 99.9 %: it shows 96.3 % or more, at 95 % confidence. The bound is Wilson's score interval (E.
B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical Association 22,
1927, pages 209-212), which, unlike the textbook's normal approximation, stays honest for shares near 1 and for few trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

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


def gate(matched: int, compared: int, *, minimum: int, match: float) -> GateResult:
    """The test for `matched` out of `compared`: at least `minimum` comparisons, and the interval's lower end at `match` or above."""
    lower, _ = wilson(matched, compared)
    reasons: list[str] = []
    if compared < minimum:
        reasons.append(f"{compared} comparisons, {minimum} are needed")
    if lower < match:
        reasons.append(
            f"the match rate is at least {lower:.4%} (95 % confidence), {match:.4%} is needed" + _how_many(matched, compared, match)
        )
    return GateResult(not reasons, compared, matched, lower, minimum, match, tuple(reasons))


def _how_many(matched: int, compared: int, match: float) -> str:
    """How many comparisons would do, were they all to match: Wilson's lower end for n of n is n / (n + z²)."""
    if matched < compared or match >= 1:
        return ""
    needed = int(match * Z95 * Z95 / (1 - match)) + 1
    return f": {needed} comparisons without a difference would show that" if needed > compared else ""
