"""Looks at every route with a [routes.guard] once a second, and has its flag turned off where its candidate does worse than legacy.

It runs in the supervisor of each gateway, by what that gateway's own workers saw (ADR 13). Invariants:

- It turns flags off, and never on.
- A flag is judged by what came after it was last turned on; so whoever turns it on again gets a fresh window.
- One trip for each time that a flag was turned on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

import orjson

from gateway.config import Config
from gateway.guard.clerk import Clerk
from gateway.guard.place import Place, place
from gateway.guard.trips import Trip, Trips
from gateway.guard.turning import BY, Turning
from gateway.guard.watch import RouteWatch, Seen, described
from gateway.settings import Route
from gateway.switchboard import Switchboard
from gateway.telemetry import Stats

_log = logging.getLogger("banyan.guard")

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 5.0
"""After something in the turning off broke that nobody has thought of."""


class Guard:
    """See the module's docstring. `keep` runs a task for as long as the gateway runs."""

    def __init__(
        self, config: Config, board: Switchboard, keep: Callable[[Coroutine[Any, Any, object], str], object], clerk: Clerk
    ) -> None:
        self.watches: dict[str, RouteWatch] = {}
        self.trips = Trips()
        self.clerk = clerk
        self._clerk_runs = False
        self._board = board
        self._keep = keep
        self._config = config
        self._number = 0
        """Of the last change of a flag that was looked at."""
        self._turning: dict[str, Trip] = {}
        """Flag → what is being turned off."""
        self.take_routes(config)

    def take_routes(self, config: Config) -> None:
        """The routes, at the start or after a reload."""
        before = self.watches
        self._config = config
        now = time.monotonic()
        self.watches = {
            route.name: RouteWatch(route.name, route.serve_flag, route.guard, _patience(config, route.candidate), _address(config, route))
            for route in config.routes
            if route.guard
        }
        for name, watch in self.watches.items():
            old = before.get(name)
            if old is not None and old.flag == watch.flag:
                if old.address != watch.address:
                    watch.replace(old, now)
                elif (old.settings, old.patience) == (watch.settings, watch.patience):
                    self.watches[name] = old
                else:
                    watch.inherit(old)
        self.clerk.watch({watch.route: watch.settings.window for watch in self.watches.values() if watch.limits.mismatch is not None})

    def heard(self, stats: Stats) -> None:
        """A worker's report."""
        if not self.watches:
            return
        now = time.monotonic()
        for name, route in stats.routes.items():
            watch = self.watches.get(name)
            if watch is not None and route.guard:
                watch.heard(now, route.guard)

    async def run(self) -> None:
        """Until cancelled."""
        await self._board.first.wait()
        self._resume()
        while True:
            if self.watches and not self._clerk_runs:
                self._clerk_runs = True
                self._keep(self.clerk.run(), "guard's clerk")
            try:
                self._look(time.monotonic(), time.time())
            except Exception:  # one look that stumbles must not be the last
                _log.exception("guard: a look at the routes failed")
            await asyncio.sleep(LOOK_SECONDS)

    def state(self) -> dict[str, Any]:
        """GET /guard."""
        return {
            "routes": [self._route(watch) for watch in self.watches.values()],
            "trips": [asdict(trip) for trip in self.trips.kept],
            "clerk": {"answers": not self.clerk.silent, "error": self.clerk.error},
        }

    # Inside

    def _route(self, watch: RouteWatch) -> dict[str, Any]:
        seen, settings = watch.seen, watch.settings
        return {
            "route": watch.route,
            "flag": watch.flag,
            "state": self.standing(watch),
            "since": watch.begun_at if watch.begun is not None else None,
            "reason": seen.verdict.reason if seen is not None else "",
            "text": seen.verdict.text if seen is not None else "",
            "figures": described(seen),
            "limits": settings.model_dump(),
        }

    def standing(self, watch: RouteWatch) -> str:
        """off: there is nothing to turn off. turning-off. Else what the last look said: healthy, not-enough, breach."""
        if watch.flag in self._turning:
            return "turning-off"
        if watch.begun is None:
            return "off"
        return watch.seen.verdict.state if watch.seen is not None else "not-enough"

    def _look(self, now: float, wall: float) -> None:
        went_off = self._went_off()
        for watch in self.watches.values():
            if watch.flag in went_off:
                watch.end(now)
            on = self._serving(watch.flag)
            if on and watch.begun is None:
                watch.begin(now, wall)
            elif not on:
                watch.end(now)
            seen = watch.look(now, wall, self.clerk.compared.get(watch.route))
            if seen is not None and seen.verdict.state == "breach" and watch.flag not in self._turning:
                self._trip(watch, seen, wall)

    def _serving(self, flag: str) -> bool:
        """Whether the candidate may be answering anybody."""
        overridden = self._board.overrides.answers.get(flag)
        if overridden is not None:
            return overridden
        feature = self._board.changes.features.get(flag)
        return feature is not None and bool(feature.get("enabled"))

    def _went_off(self) -> set[str]:
        """Flags that were off for a moment since the last look, or that somebody overrode: they may be on again by now."""
        changes = self._board.changes
        if changes.last == self._number:
            return set()
        found = set()
        for change in changes.after(self._number):
            off = change.new is None or not change.new.get("enabled")
            if off or change.kind == "override":
                found.add(change.flag)
        self._number = changes.last
        return found

    def _trip(self, watch: RouteWatch, seen: Seen, wall: float) -> None:
        window = f"within {min(watch.settings.window, wall - watch.begun_at):.0f} s"
        why = f"{seen.verdict.text} {window}{_of_legacy(seen)}"
        trip = self.trips.begin(wall, watch.route, watch.flag, seen.verdict.reason, why, described(seen))
        _log.error("guard: %s is turned off: %s %s", watch.flag, why, _line(trip))
        self._begin(trip)

    def _begin(self, trip: Trip) -> None:
        self._turning[trip.flag] = trip
        self._keep(self._turn_off(trip), f"guard: {trip.flag}")

    async def _turn_off(self, trip: Trip) -> None:
        def told(error: str, overridden: bool) -> None:
            if (trip.error, trip.overridden) != (error, overridden):
                trip.error, trip.overridden = error, overridden
                self.clerk.keep(trip)  # whoever looks at the database meanwhile, or after a restart, sees why it is not off

        self.clerk.keep(trip)
        while True:
            try:
                outcome = await Turning(self._board, self._place, trip.flag, trip.why, told).run()
                break
            except Exception as error:  # whatever it is: the flag is not off, and nobody else turns it off
                _log.exception("guard: turning %s off failed; it is tried again", trip.flag)
                told(f"{type(error).__name__}: see the log", trip.overridden)
                await asyncio.sleep(AGAIN_SECONDS)
        del self._turning[trip.flag]
        self.trips.end(trip, outcome)
        for watch in self.watches.values():
            if watch.flag == trip.flag:
                watch.end(time.monotonic())
        self.clerk.keep(trip)
        _log.warning("guard: %s: %s %s", trip.flag, _OUTCOMES[outcome], _line(trip))

    def _place(self) -> Place:
        return place(self._config)

    def _resume(self) -> None:
        """What the guard of before a restart could not turn off yet."""
        flags = {watch.flag: watch.route for watch in self.watches.values()}
        for flag, override in self._board.overrides.by_flag.items():
            if override.by != BY or override.enabled:
                continue
            if flag not in flags:  # to end it might give the traffic back to what failed
                _log.error(
                    "guard: %s is still overridden off by the guard, but no [routes.guard] is there for it any more: nothing turns it off "
                    "where it lives. To end the override: banyan flags override %s --clear",
                    flag, flag,
                )  # fmt: skip
            else:
                _log.warning("guard: %s is still to be turned off where it lives", flag)
                self._begin(self.trips.begin(override.since, flags[flag], flag, "restart", override.why, {}))


_OUTCOMES: Final = {
    "switched-off": "it is off where it lives",
    "already-off": "it was off where it lives: somebody else, or another gateway, has done it",
    "on-again": "somebody has turned it on again; it is watched anew",
}


def _patience(config: Config, candidate: str) -> float:
    """How long a request to it may take, to its answer's head."""
    upstream = config.upstreams[candidate]
    return upstream.connect_timeout + upstream.response_timeout


def _address(config: Config, route: Route) -> tuple[object, ...]:
    """What answers as the route's candidate."""
    upstream = config.upstreams[route.candidate]
    return upstream.url, upstream.urls, route.host, route.rewrite


def _of_legacy(seen: Seen) -> str:
    legacy = seen.legacy
    if legacy.basis == "shadow":
        return "; legacy as asked beside"
    if legacy.basis == "baseline":
        return f"; legacy as it was {seen.at - legacy.at:.0f} s ago"
    return ""


def _line(trip: Trip) -> str:
    """For whoever reads logs by machine."""
    return orjson.dumps(asdict(trip)).decode()
