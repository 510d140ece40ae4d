"""Which route needs a person most, and what for. Pure: what is known of a route comes in, a rank and a reason go out.

The order is that of what it costs to leave it: a route that was rolled back, or is in trouble now, before one that could be handed over;
that before what waits for a reviewer; and what needs nothing but time, or nothing, last.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from django.utils.translation import gettext as _

from console import gatewords, modes
from console.echo import echo
from console.modes import Mode
from shadow.gate import GateResult, wilson
from shadow.latency import NOTHING, SideFigures
from shadow.words import percent

FEW: int = 5
"""Errors below which there is no trouble, whatever their share: a single one of two requests is half of them."""
MUCH: float = 0.05
"""Of what was asked: a share of errors that is above this with 95 % confidence is trouble, if legacy's is not as bad."""


class Rank(IntEnum):
    """The lower, the sooner somebody should look."""

    ROLLED_BACK = 0
    TROUBLE = 1
    FAILS_WHILE_ON = 2
    REVIEW_THEN_READY = 3
    READY = 4
    BLIND = 5
    REVIEW = 6
    BUGS = 7
    COLLECTING = 8
    NOTHING = 9


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a route."""

    name: str
    mode: Mode
    gate: GateResult | None = None
    new: int = 0
    """Open signatures that nobody has looked at."""
    bugs: int = 0
    guard: str = ""
    """Why its guard turned the flag off, where that still stands."""
    problems: tuple[str, ...] = ()
    """What is wrong with its flags."""
    gateway_errors: int = 0
    """Lately: nobody could be asked."""
    served: int = 0
    """Lately."""
    candidate: SideFigures = NOTHING
    """Lately, of what it served; of what was asked beside where it serves nothing."""
    legacy: SideFigures = NOTHING
    eligible: int = 0
    """Lately."""
    compared: int = 0
    """In the span that the page shows."""
    eligible_in_span: int = 0
    flag: str = ""
    where: str = ""
    """Where its flag is turned on, as in "in Unleash"."""


@dataclass(frozen=True, slots=True)
class Need:
    """The reason in words; "" where nothing is needed."""

    rank: Rank
    reason: str

    @property
    def pressing(self) -> bool:
        """Whether somebody should look now."""
        return self.rank <= Rank.FAILS_WHILE_ON

    @property
    def asks(self) -> bool:
        """Whether a person can do something about it."""
        return self.rank <= Rank.BUGS


def need(facts: Facts) -> Need:
    """The most pressing one."""
    if facts.mode.key == modes.ROLLED_BACK:
        return Need(
            Rank.ROLLED_BACK, _("rolled back: %(why)s") % {"why": echo(facts.guard)} if facts.guard else _("rolled back by its guard")
        )
    trouble = _trouble(facts)
    if trouble:
        return Need(Rank.TROUBLE, trouble)
    serving = facts.mode.key in (modes.ON, modes.PART)
    gate = facts.gate
    open_ = gatewords.open_signatures(facts.new, facts.bugs)
    if gate is not None and serving and facts.mode.shadow and not gate.passed and gate.compared:
        return Need(
            Rank.FAILS_WHILE_ON,
            _("serves, and its gate does not pass: %(what)s") % {"what": gatewords.missing(gate, facts.new, facts.bugs)},
        )
    if gate is not None and gatewords.only_signatures(gate) and facts.new:
        return Need(Rank.REVIEW_THEN_READY, _("%(what)s: nothing else is missing for its gate") % {"what": open_})
    if gate is not None and gate.passed and facts.mode.key != modes.ON:
        said = _("ready: flip %(flag)s %(where)s") if facts.mode.key != modes.PART else _("ready for everybody: raise %(flag)s %(where)s")
        return Need(Rank.READY, (said % {"flag": facts.flag or facts.name, "where": facts.where}).rstrip())
    if facts.eligible_in_span >= FEW and not facts.compared:
        return Need(Rank.BLIND, _("its shadow is on, and nothing is compared"))
    if facts.new:
        return Need(Rank.REVIEW, open_)
    if facts.bugs:
        return Need(Rank.BUGS, open_)
    if gate is not None and not gate.passed and facts.mode.shadow:
        return Need(Rank.COLLECTING, gatewords.missing(gate, 0, 0))
    return Need(Rank.NOTHING, "")


def _trouble(facts: Facts) -> str:
    if facts.problems:
        return _("its flag: %(problem)s") % {"problem": echo(facts.problems[0])}
    if facts.gateway_errors >= FEW and _above(facts.gateway_errors, facts.served):
        return _("the gateway itself answered %(count)d of %(served)d in the last minute, with errors") % {
            "count": facts.gateway_errors,
            "served": facts.served,
        }
    mine, theirs = facts.candidate, facts.legacy
    worse = (mine.error_rate or 0.0) > 2 * (theirs.error_rate or 0.0)
    if mine.errors >= FEW and _above(mine.errors, mine.asked) and worse:
        beside = facts.mode.key not in (modes.ON, modes.PART)
        said = _("the candidate fails %(share)s, asked beside") if beside else _("the candidate fails %(share)s now")
        return said % {"share": percent(mine.error_rate, 1)}
    if theirs.errors >= FEW and _above(theirs.errors, theirs.asked):
        return _("legacy fails %(share)s now") % {"share": percent(theirs.error_rate, 1)}
    return ""


def _above(errors: int, of: int) -> bool:
    return of > 0 and wilson(min(errors, of), of)[0] > MUCH
