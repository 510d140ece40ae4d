"""Whether the counts of a route add up: captured = compared + skipped by reason + dropped by reason.

What is captured is counted by the edge, and what became of it by others, perhaps on other machines. Nothing makes the two sides agree but
that every exchange is counted where it ends. So what is missing was lost by a process that ended without a word, or is under way still.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shadow import counters
from shadow.report import RouteReport


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Both sides of the sum, of the exchanges that the edge handed on."""

    captured: int
    compared: int
    skipped: dict[str, int] = field(default_factory=dict)
    """By reason. Only what was captured: the edge's own reasons are not in it."""
    dropped: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    """Captured, and nobody has said what became of it: under way, or lost. Below 0: compared before the edge's count of it came, which
    takes a second or two, or counted twice."""

    @property
    def adds_up(self) -> bool:
        return self.missing == 0


def reconcile(report: RouteReport) -> Reconciliation:
    """The sum of what `report` counted."""
    skipped = {reason: number for reason, number in report.skipped.items() if counters.SKIPPED + reason in counters.AFTER_CAPTURE}
    dropped = {reason: number for reason, number in report.dropped.items() if counters.DROPPED + reason in counters.AFTER_CAPTURE}
    missing = report.captured - report.compared - sum(skipped.values()) - sum(dropped.values())
    return Reconciliation(report.captured, report.compared, skipped, dropped, missing)


def in_words(found: Reconciliation) -> str:
    """In one line."""
    parts = [f"compared {found.compared}"]
    for what, reasons in (("skipped", found.skipped), ("dropped", found.dropped)):
        parts += [f"{what} {number} {reason}" for reason, number in reasons.items()]
    words = f"captured {found.captured} = {' + '.join(parts)}"
    if found.missing > 0:
        return f"{words} + missing {found.missing} (under way, or lost by a process that ended without a word)"
    if found.missing < 0:
        return f"{words} - {-found.missing} (compared before the edge's count has come; if it stays, counted twice)"
    return words
