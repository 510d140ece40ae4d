"""Flags in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flags.admin.states import plain

if TYPE_CHECKING:
    from flags.admin import FlagState

__all__ = ["clock", "duration", "in_words", "plain"]


def in_words(state: FlagState) -> str:
    """Such as "on   25 % by userId"."""
    if not state.enabled:
        return "off"
    if state.conditional is not None:
        return f"on   {state.conditional} % of those whom its constraints let in"
    if state.rollout is None:
        return "on   by its strategies"
    # Of all, too: whoever has nothing to be sticky by is outside whatever the share.
    everybody = state.stickiness in ("", "default") or state.rollout == 0 or (state.stickiness, state.rollout) == ("random", 100)
    return f"on   {state.rollout} %{'' if everybody else f' by {state.stickiness}'}"


def duration(seconds: float) -> str:
    """Such as "29m 12s"; two units at most."""
    left = round(seconds)
    if left < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2])


def clock(moment: float) -> str:
    """The local time, with the day where it is another."""
    import time

    there, now = time.localtime(moment), time.localtime()
    same_day = there[:3] == now[:3]
    return time.strftime("%H:%M:%S" if same_day else "%a %d %b, %H:%M:%S", there)
