"""What an operator is about to do, in words, before it is done. Nothing is asked or changed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.http import QueryDict
from django.utils.translation import gettext as _

from console.flagboard import Board, FlagView
from flags.overrides import LONGEST, LONGEST_TEXT
from gateway.config import Config
from shadow.storable import storable
from shadow.words import utc

MOST_MINUTES: Final = int(LONGEST // 60)
USUAL_MINUTES: Final = 30


@dataclass(frozen=True, slots=True)
class OverrideAsked:
    """An override as a form has it, right or wrong."""

    state: str
    minutes: str
    why: str

    @classmethod
    def of(cls, form: QueryDict) -> OverrideAsked:
        """As it was sent."""
        return cls(form.get("state", ""), form.get("minutes", "").strip(), storable(form.get("why", "").strip()))

    @property
    def enabled(self) -> bool:
        return self.state == "on"

    @property
    def seconds(self) -> float:
        return 60.0 * int(self.minutes)

    def wrong(self) -> list[str]:
        """What is to be mended."""
        found = []
        if self.state not in ("on", "off"):
            found.append(_("Say whether it is to be on or off."))
        if not (self.minutes.isascii() and self.minutes.isdigit() and len(self.minutes) < 9 and 1 <= int(self.minutes) <= MOST_MINUTES):
            found.append(
                _("Say for how many minutes, from 1 to %(most)d. What is to last is changed where the flag lives.") % {"most": MOST_MINUTES}
            )
        found += reason_wrong(self.why)
        return found


def reason_wrong(why: str) -> list[str]:
    """What is wrong with a reason."""
    if not why:
        return [_("Say why, for whoever finds it.")]
    if len(why) > LONGEST_TEXT:
        return [_("A reason may have %(most)d characters.") % {"most": LONGEST_TEXT}]
    return []


def flag_view(board: Board | None, flag: str) -> FlagView | None:
    """The flag, where a route reads it or it is overridden."""
    return next((view for view in board.every() if view.name == flag), None) if board is not None else None


def consequences(config: Config, view: FlagView, *, enabled: bool) -> list[str]:
    """What an override does to the traffic, a sentence for each route that reads the flag."""
    configured = {route.name: route for route in config.routes}
    said = []
    for name, role in view.uses:
        route = configured[name]
        if role == "serve" and enabled:
            text = _("All traffic of %(route)s goes to the candidate %(upstream)s; where that fails, the fallback decides as ever.")
            said.append(text % {"route": name, "upstream": route.candidate})
        elif role == "serve":
            said.append(_("All traffic of %(route)s goes to legacy.") % {"route": name})
        elif role == "shadow" and enabled:
            said.append(_("Requests of %(route)s are compared, as its sample and methods say.") % {"route": name})
        elif role == "shadow":
            said.append(_("Nothing of %(route)s is compared; its figures stand still.") % {"route": name})
        elif enabled:
            text = _(
                "All traffic of %(route)s is shared by the variants of the flag, where it has usable ones, else as configured: %(shares)s."
            )
            said.append(text % {"route": name, "shares": _shares(route.split)})
        else:
            text = _("All traffic of %(route)s is shared as configured: %(shares)s.")
            said.append(text % {"route": name, "shares": _shares(route.split)})
    return said or [_("No route reads this flag.")]


def replaced(view: FlagView) -> str:
    """The override that is in force; "" where there is none."""
    if view.override is None:
        return ""
    return _("%(state)s until %(until)s, by %(by)s: %(why)s") % {
        "state": _("on") if view.override.enabled else _("off"),
        "until": utc(view.override.until),
        "by": view.override.by or _("somebody"),
        "why": view.override.why or _("no reason given"),
    }


def _shares(weights: dict[str, int]) -> str:
    whole = sum(weights.values()) or 1
    return ", ".join(f"{name} {100 * weight / whole:.4g} %" for name, weight in weights.items())
