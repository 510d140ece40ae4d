"""What is done with a route's requests now, in a word: off, shadow, 10 %, on, rolled back. Pure.

Flags decide, so they are asked first, and overrides before them; where the gateway does not answer, what was counted lately has to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from console import flagwords

OFF, SHADOW, PART, ON, ROLLED_BACK, PROVIDERS, IDLE = "off", "shadow", "part", "on", "rolled-back", "providers", "idle"


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag's state as far as a mode needs it."""

    on: bool | None
    """None: not known."""
    definition: dict[str, Any] | None = None
    """In the words of Unleash's client API."""
    override: bool | None = None
    """What an override says; None: there is none."""


@dataclass(frozen=True, slots=True)
class Mode:
    """`key` is one of the constants above."""

    key: str
    label: str
    shadow: bool = False
    """Both are asked, and compared."""
    known: bool = True
    """By the flags; else by what was counted."""


def mode(serve: Flag, shadow: Flag, *, split: bool, rolled_back: bool, share: float | None, comparing: bool) -> Mode:
    """`share`: the candidate's, of what was answered lately; None: nothing was. `comparing`: something was eligible lately. `rolled_back`:
    its guard turned the flag off, and nobody has turned it on since."""
    if split:
        return Mode(PROVIDERS, _("providers"))
    known = serve.on is not None
    state = serve.override if serve.override is not None else serve.on
    compared = shadow.override if shadow.override is not None else shadow.on
    beside = comparing if compared is None else compared
    if not known:
        return Mode(ROLLED_BACK, _("rolled back"), beside, known=False) if rolled_back and not share else _counted(share, beside)
    if not state:
        if rolled_back:
            return Mode(ROLLED_BACK, _("rolled back"), beside)
        return Mode(SHADOW, _("shadow"), shadow=True) if beside else Mode(OFF, _("off"))
    if serve.override is not None:
        return Mode(ON, _("on"), beside)
    part = flagwords.share(serve.definition)
    if part == 100:
        return Mode(ON, _("on"), beside)
    if part is not None:
        return Mode(PART, f"{part} %", beside) if part else Mode(SHADOW if beside else OFF, _("shadow") if beside else _("off"), beside)
    return Mode(PART, _("on for some"), beside)


def _counted(share: float | None, beside: bool) -> Mode:
    if share is None:
        return Mode(IDLE, _("no traffic"), beside, known=False)
    if not share:
        return Mode(SHADOW, _("shadow"), shadow=True, known=False) if beside else Mode(OFF, _("legacy answers"), known=False)
    if share == 1:
        return Mode(ON, _("candidate answers"), beside, known=False)
    return Mode(PART, _("candidate answers %(share)d %%") % {"share": max(1, min(99, round(100 * share)))}, beside, known=False)
