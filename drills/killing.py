"""Kills a payment provider at each of the five stages of a payment, and once while it hangs, and starts it again after a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from demo.processes import StartError
from demo.providers import Fault, Provider

PATIENCE_SECONDS: Final = 20.0
"""For a payment to come by that it dies of."""
SETTLE_SECONDS: Final = 0.5
"""Between its coming back and its next death: a provider that is never up would be another drill."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where in a payment it dies."""

    key: str
    label: str
    fault: Fault | None
    """None: killed from outside, between two payments."""
    hangs: bool = False
    """It does not die of that: payments stay unanswered for a while, then it is killed."""


STAGES: Final = (
    Stage("before_connect", "killed before anybody connects", None),
    Stage("after_accept", "killed with the connection accepted, nothing read", Fault.DIE_AFTER_ACCEPT),
    Stage("before_charging", "killed with the payment read, nothing charged", Fault.DIE_BEFORE_CHARGING),
    Stage("after_charging", "killed with the charge written, nothing answered", Fault.DIE_AFTER_CHARGING),
    Stage("mid_answer", "killed in the middle of its answer", Fault.DIE_MID_ANSWER),
)
HUNG: Final = Stage("hanging", "hung with payments read, nothing charged; then killed", Fault.HANG, hangs=True)
EVERY: Final = (*STAGES, HUNG)
HANG_SECONDS: Final = 0.7
"""From the first payment that hangs. Shorter than any patience: what hangs is in hand when it is killed, and not given up before."""


@dataclass(slots=True)
class Death:
    """One of them. Times are of time.monotonic()."""

    stage: Stage
    armed: float
    """From here on it could die."""
    seen: float
    """By then it was dead."""
    back: float = 0.0
    """It answers again; 0.0: it does not yet."""
    in_hand: frozenset[str] = frozenset()
    """The names of the payments that it said, just before, it had read and left without an answer."""


class Killer:
    """Of one provider."""

    def __init__(self, provider: Provider, again: Callable[[], Provider], outage: float, seen: Callable[[float], str]) -> None:
        """`again` starts it where it was, and blocks until it answers. `outage`: how long nobody does so, in seconds. `seen` says what
        those who pay have seen since a moment: where it does not die, that is what one wants to know."""
        self.provider = provider
        self.deaths: list[Death] = []
        self.over = False
        """All of EVERY was reached, and the last time it came back."""
        self._again = again
        self._outage = outage
        self._seen = seen

    async def run(self, seconds: float) -> None:
        """All of EVERY, spread over `seconds` as far as its deaths leave time for that.

        Raises:
            StartError: it did not die, or did not come back.
        """
        began = time.monotonic()
        for number, stage in enumerate(EVERY):
            wanted = began + seconds * (number + 0.25) / len(EVERY)
            await asyncio.sleep(max(SETTLE_SECONDS, wanted - time.monotonic()))
            death = await self._kill(stage)
            self.deaths.append(death)
            await asyncio.sleep(self._outage)
            self.provider = await asyncio.to_thread(self._again)
            death.back = time.monotonic()
        self.over = True

    async def _kill(self, stage: Stage) -> Death:
        armed = time.monotonic()
        if stage.fault is None:
            await asyncio.to_thread(self.provider.kill)
        else:
            await asyncio.to_thread(self.provider.switch, f"{stage.fault}@*")
        in_hand: frozenset[str] = frozenset()
        if stage.hangs:
            await self._met()
            await asyncio.sleep(HANG_SECONDS)
            in_hand = frozenset(await asyncio.to_thread(self.provider.hanging))
            await asyncio.to_thread(self.provider.kill)
        for _ in range(int(PATIENCE_SECONDS * 200)):
            if not self.provider.alive():
                return Death(stage, armed, time.monotonic(), in_hand=in_hand)
            await asyncio.sleep(0.005)
        raise StartError(
            f"{self.provider.name} did not die ({stage.label}) within {PATIENCE_SECONDS:g} s. Those who paid saw: {self._seen(armed)}. "
            f"The last lines of its log:\n{self.provider.tail(5)}"
        )

    async def _met(self) -> None:
        """Until a payment hangs. That none came by is no reason to stop: the report says so."""
        for _ in range(int(PATIENCE_SECONDS * 20)):
            if await asyncio.to_thread(self.provider.hanging):
                return
            await asyncio.sleep(0.05)
