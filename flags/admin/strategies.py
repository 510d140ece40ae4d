"""Strategies of Unleash's, as far as a share of the users is concerned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flags.admin.states import AdminError

Strategy = dict[str, Any]
ROLLOUT: Final = "flexibleRollout"


def check_percent(rollout: int | None) -> None:
    """
    Raises:
        AdminError: it is no percentage.
    """
    if rollout is not None and not 0 <= rollout <= 100:
        raise AdminError(f"rollout {rollout}: a percentage is a whole number from 0 to 100")


def parameters(name: str, rollout: int, stickiness: str | None, current: Strategy | None = None) -> dict[str, str]:
    """Those of a rollout. Group and stickiness of `current` stay, or other users would change sides."""
    found = {"stickiness": "default", "groupId": name, **((current or {}).get("parameters") or {}), "rollout": str(rollout)}
    if stickiness is not None:
        found["stickiness"] = stickiness
    return found


def variants(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Variants with these weights, in thousandths, as Unleash's UI writes them. The heaviest is "variable", as one has to be there: it gets
    what the others leave, so that all of them are a thousand together.
    """
    total = sum(weights.values())
    heaviest = max(weights, key=lambda name: weights[name])
    thousandths = {name: round(1000 * weight / total) for name, weight in weights.items()}
    thousandths[heaviest] += 1000 - sum(thousandths.values())
    return [
        {"name": name, "weight": weight, "weightType": "variable" if name == heaviest else "fix", "stickiness": "default"}
        for name, weight in thousandths.items()
    ]


def in_force(strategies: Sequence[Strategy]) -> list[Strategy]:
    """Without those that are disabled: Unleash keeps them to itself."""
    return [strategy for strategy in strategies if not strategy.get("disabled")]


def rollout_of(strategies: Sequence[Strategy]) -> int | None:
    """Percent; None where they are more than one rollout can say."""
    if not strategies:
        return 100
    found = in_force(strategies)
    if not found:
        return 0  # Unleash delivers such a flag as off
    return None if _conditions(found[0]) else _share(found)


def conditional_of(strategies: Sequence[Strategy]) -> int | None:
    """Percent of those whom constraints and segments let in; None where there are none of these, or more than one rollout."""
    found = in_force(strategies)
    return _share(found) if found and _conditions(found[0]) else None


def _conditions(strategy: Strategy) -> bool:
    return bool(strategy.get("constraints") or strategy.get("segments"))


def _share(found: Sequence[Strategy]) -> int | None:
    if len(found) > 1:
        return None
    if found[0]["name"] == "default":
        return 100
    try:
        return int((found[0].get("parameters") or {})["rollout"])
    except (KeyError, TypeError, ValueError):
        return None


def stickiness_of(strategies: Sequence[Strategy]) -> str:
    """Of the only rollout; "" where there is not just that."""
    found = in_force(strategies)
    if len(found) != 1 or found[0]["name"] != ROLLOUT:
        return ""
    return str((found[0].get("parameters") or {}).get("stickiness") or "default")


def only_rollout(name: str, strategies: Sequence[Strategy], where: str) -> Strategy | None:
    """The one strategy whose percentage may be set; None where a new one should be made.

    One that is disabled is it where it is the only one: whoever sets its percentage wants it. Beside one in force it stays what it is.

    Raises:
        AdminError: somebody configured more than that.
    """
    found = in_force(strategies) or list(strategies)
    if not found:
        return None
    (first, *others) = found
    if others or first["name"] not in {"default", ROLLOUT}:
        each = ", ".join(strategy["name"] for strategy in found)
        what = "a strategy" if not others else f"{len(found)} strategies"
        raise AdminError(f"flag {name!r} has {what} of its own ({each}), which a percentage would destroy: change its share in {where}")
    return first
