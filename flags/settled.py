"""Flags that need nobody who decides them any more: on for everybody, off for everybody, or on for a share of the requests by dice.

Whatever reads who is calling, or anything of the request, is not settled, and what is not understood is not either. A property test holds
this against Unleash's own engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

_PERCENT: Final = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Settled:
    """It says the same to everybody."""

    percent: int
    """Of the requests for which it is on: 0 is off, 100 is on, and between them each request has dice of its own."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Why it does not."""

    kind: Literal["constraints", "segments", "stickiness", "strategies", "parents", "malformed"]
    why: str
    """Reads on after the flag's name."""


def settled(flag: str, features: Mapping[str, Mapping[str, Any]], *, anonymous: bool) -> Settled | list[Unsettled]:
    """What `flag` says. `anonymous`: it is never told of a user or a session, so that Unleash's default stickiness is dice."""
    feature = features.get(flag)
    if feature is None or not feature["enabled"]:
        return Settled(0)
    if feature.get("dependencies"):
        parents = ", ".join(sorted({str(parent.get("feature")) for parent in feature["dependencies"]}))
        return [Unsettled("parents", f"depends on another flag ({parents})")]
    strategies = feature["strategies"]
    if not strategies:
        return Settled(100)
    shares: list[int] = []
    reasons: list[Unsettled] = []
    for strategy in strategies:
        found = _strategy(strategy, anonymous)
        if isinstance(found, int):
            shares.append(found)
        else:
            reasons += found
    if 100 in shares and not any(strategy.get("segments") for strategy in strategies):
        # One that says yes to everybody is enough, whatever the others say. But with a segment that it does not know, the engine says no.
        return Settled(100)
    some = [share for share in shares if share]
    if len(some) > 1:
        reasons.append(Unsettled("strategies", f"throws dice in {len(some)} strategies, one after the other"))
    return reasons or Settled(some[0] if some else 0)


def _strategy(strategy: Mapping[str, Any], anonymous: bool) -> int | list[Unsettled]:
    """The share for which it says yes."""
    name = strategy["name"]
    parameters = strategy.get("parameters") or {}
    share = 100
    reasons: list[Unsettled] = []
    if name == "flexibleRollout":
        rollout = parameters.get("rollout")
        if not isinstance(rollout, str) or not _PERCENT.fullmatch(rollout) or int(rollout) > 100:
            return [Unsettled("malformed", f"has a rollout that is no whole number from 0 to 100: {str(rollout)[:20]!r}")]
        share = int(rollout)
        reasons += _stickiness(str(parameters.get("stickiness", "default")), share, anonymous)
    elif name != "default":
        reasons.append(Unsettled("strategies", f"has the strategy {str(name)[:50]!r}, which looks at who is calling, or is unknown here"))
    if share == 0 and not strategy.get("segments"):
        return 0  # whoever it would be for
    if constraints := strategy.get("constraints"):
        fields = ", ".join(sorted({str(each.get("contextName")) for each in constraints}))
        reasons.append(Unsettled("constraints", f"has constraints, on {fields}"))
    if segments := strategy.get("segments"):
        reasons.append(Unsettled("segments", f"is for {'a segment' if len(segments) == 1 else f'{len(segments)} segments'} of the callers"))
    return reasons or share


def _stickiness(stickiness: str, share: int, anonymous: bool) -> Iterator[Unsettled]:
    if stickiness == "random" or (stickiness == "default" and (share == 100 or anonymous)):
        return
    kept = "a user or a session" if stickiness == "default" else stickiness
    yield Unsettled("stickiness", f"keeps {kept} on one side (stickiness {stickiness}, {share} %)")
