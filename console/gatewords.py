"""The gate in words: what each of its conditions asks for, how far it is met, and what would be enough. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shadow.gate import MOST_STALE, GateResult
from shadow.words import percent, thousands


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of the gate."""

    name: str
    met: bool
    figure: str
    asked: str
    enough: str = ""
    """What would be enough, where it is not met."""


def conditions(gate: GateResult, new: int, bugs: int) -> list[Condition]:
    """All four of them, and a fifth where answers were stale. `new` and `bugs`: the open signatures, by state."""
    more = gate.missing
    clean = (
        _("no number of further comparisons would be enough: something that differs has to be mended, or excused by a rule")
        if more is None
        else ngettext("%(count)s further comparison without a difference", "%(count)s further comparisons without a difference", more)
        % {"count": thousands(more)}
    )
    few = gate.compared < gate.minimum
    low = gate.lower < gate.required
    uncovered = gate.coverage is not None and gate.coverage < gate.coverage_required
    found = [
        Condition(
            _("Comparisons"),
            not few,
            thousands(gate.compared),
            _("at least %(count)s") % {"count": thousands(gate.minimum)},
            _("%(count)s more") % {"count": thousands(gate.minimum - gate.compared)} if few else "",
        ),
        Condition(
            _("Match rate, at least (95 % sure)"),
            not low,
            percent(gate.lower) if gate.compared else percent(None),
            _("at least %(share)s") % {"share": percent(gate.required)},
            clean if low else "",
        ),
        Condition(
            _("Coverage of what was sampled"),
            not uncovered,
            percent(gate.coverage, 1),
            _("at least %(share)s") % {"share": percent(gate.coverage_required, 1)},
            _("less that is skipped or dropped: see why below") if uncovered else "",
        ),
        Condition(
            _("Open signatures"),
            not gate.open,
            thousands(gate.open),
            _("none"),
            open_signatures(new, bugs) + ": " + _("review the new, mend the bugs") if gate.open else "",
        ),
    ]
    if gate.stale:
        old = gate.stale > MOST_STALE
        most = _("at most %(share)s") % {"share": percent(MOST_STALE, 1)}
        enough = _("a candidate that is less behind") if old else ""
        found.append(Condition(_("Stale answers"), not old, percent(gate.stale, 1), most, enough))
    return found


def missing(gate: GateResult, new: int, bugs: int) -> str:
    """What a gate that does not pass needs, in a line; "" where it passes."""
    if gate.passed:
        return ""
    said = []
    if gate.missing is None:
        said.append(_("too many differences for any number of comparisons"))
    elif gate.missing:
        said.append(
            ngettext("needs %(count)s more comparison", "needs %(count)s more comparisons", gate.missing)
            % {"count": thousands(gate.missing)}
        )
    if gate.coverage is not None and gate.coverage < gate.coverage_required:
        said.append(
            _("coverage %(share)s of %(asked)s") % {"share": percent(gate.coverage, 1), "asked": percent(gate.coverage_required, 1)}
        )
    if gate.stale > MOST_STALE:
        said.append(_("%(share)s stale") % {"share": percent(gate.stale, 1)})
    if gate.open:
        said.append(open_signatures(new, bugs))
    return "; ".join(said)


def open_signatures(new: int, bugs: int) -> str:
    """How many of each."""
    said = []
    if new:
        said.append(ngettext("%(count)d new signature", "%(count)d new signatures", new) % {"count": new})
    if bugs:
        said.append(ngettext("%(count)d bug open", "%(count)d bugs open", bugs) % {"count": bugs})
    return "; ".join(said)


def only_signatures(gate: GateResult) -> bool:
    """Whether it would pass, were no signature open."""
    covered = gate.coverage is None or gate.coverage >= gate.coverage_required
    return not gate.passed and gate.missing == 0 and covered and gate.open > 0 and gate.stale <= MOST_STALE
