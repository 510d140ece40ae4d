"""What a step of the demo's story is, and what every step may use. Nothing here knows which steps there are: demo/steps.py does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.configuration import ROUTES
from demo.figures import Figures
from demo.traffic import Answer, Traffic
from demo.world import World

if TYPE_CHECKING:
    from shadow.report import RouteReport

SETTLED_SECONDS = 1.3
"""Workers report once a second and the store is written twice a second: counts that stood still for longer have settled."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step measured."""

    ok: bool
    seen: str
    measured: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story. `run` measures and judges; `expected` says by what."""

    title: str
    expected: str
    run: Callable[[Story], Outcome]


@dataclass(slots=True)
class Story:
    """The stage."""

    world: World
    traffic: Traffic
    figures: Figures
    flip_seconds: float
    """The bar for a flip: the issue's for a file, Unleash's own publishing included for Unleash."""
    patience: float
    """Factor on how long a step waits for enough traffic; above 1 for an engine that carries less."""
    since: float = 0.0
    """Unix time from which the comparison's counts are of interest."""

    def compare(self, on: bool) -> None:
        """Turns shadow on or off for every route."""
        for route in ROUTES:
            self.world.steering.turn(f"{route}.shadow", on)

    def reports(self) -> list[RouteReport]:
        """Of each route since `since`."""
        return self.figures.reports(ROUTES, self.since)

    def until(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Waits until `enough`, for at most `seconds` times the patience. Whether it came to that."""
        deadline = time.monotonic() + seconds * self.patience
        while not enough():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def settle(self, seconds: float = 12.0) -> list[RouteReport]:
        """Pauses the traffic until the comparison has caught up with it."""
        self.traffic.pause()
        last: list[RouteReport] = []
        unchanged = time.monotonic()
        deadline = unchanged + seconds * self.patience
        while time.monotonic() < deadline:
            now = self.reports()
            if now != last:
                last, unchanged = now, time.monotonic()
            elif time.monotonic() > unchanged + SETTLED_SECONDS and all(map(_accounted, now)):
                break
            time.sleep(0.1)
        return last

    def legacy_saw(self, start: int) -> list[str]:
        """The paths of what legacy answered, by its own access log from offset `start`."""
        with self.world.shop_log.open("rb") as log:
            log.seek(start)
            return [line.split(" ")[1] for line in log.read().decode().splitlines()]

    def legacy_log_end(self) -> int:
        """Where its access log ends, now that nothing is under way."""
        time.sleep(0.2)  # a line is written just after its answer was sent
        return self.world.shop_log.stat().st_size


def _accounted(report: RouteReport) -> bool:
    """Was each request that was to be compared either compared or counted as not?"""
    return report.compared + sum(report.skipped.values()) + sum(report.dropped.values()) >= report.eligible


def of_route(answers: list[Answer], route: str) -> list[Answer]:
    return [answer for answer in answers if answer.route == route]


def by_side(answers: list[Answer]) -> dict[str, int]:
    """How many each side gave; failures are nobody's."""
    return {side: sum(answer.served == side for answer in answers) for side in ("legacy", "candidate")}
