"""The shop's data on its way to two services, while everything on that way is killed again and again.

Two stretches: a calm one, in which nothing dies and the way is timed; and a rough one, in which relay, broker and each consumer are killed
at random moments. Then everything is counted, from the shop's own database, which notes each event in the transaction that emits it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

from demo.client import Client
from demo.processes import StartError
from drills import tallying
from drills.moving import PARTS, World
from drills.report import Bar, Chart, Figure, Line, Mark, Report
from drills.stage import Say, stage
from drills.tallying import Line as Effect
from drills.timeline import percentile

CALM_SECONDS: Final = 20.0
CALM_SHARE: Final = 0.4
"""Of all events, at most, in the calm stretch."""
WARM_SECONDS: Final = 2.0
"""At the beginning of the calm stretch, that are not timed: Python imports, and connections are made."""
WRITERS: Final = 2
P95_SECONDS: Final = 0.5
FASTER: Final = 0.2
READS: Final = 400
DRAIN_SECONDS: Final = 180.0
STEP_SECONDS: Final = 1.0
ITEMS: Final = 200
VIEW: Final = "/api/v1/product-view/{}"


@dataclass(slots=True)
class Found:
    """What all of it has shown."""

    emitted: dict[int, tuple[str, str]]
    """Number → (id, key)."""
    effects: list[Effect]
    calm: float
    """When the calm was over; seconds since 1970."""
    drift: dict[str, int]
    """Rows that differ, by service."""
    documents: int
    """Documents that are not what the shop gathers."""
    live: list[float]
    ready: list[float]
    """Seconds of each read, of the shop's gathering and of the view."""
    kills: Counter[str] = field(default_factory=Counter)
    waiting: list[float] = field(default_factory=list)
    """In the outbox, at each step."""
    applied: list[float] = field(default_factory=list)
    """Effects a second, at each step."""
    marks: list[Mark] = field(default_factory=list)
    drained: float = 0.0
    """Seconds from the last event to its effect."""

    @property
    def lost(self) -> int:
        seen = {effect.event for effect in self.effects}
        return sum(1 for event, _ in self.emitted.values() if event not in seen)

    @property
    def doubled(self) -> int:
        return len(self.effects) - len({effect.event for effect in self.effects})

    @property
    def disordered(self) -> int:
        """Effects that came before an earlier one of their key."""
        highest: dict[str, int] = {}
        wrong = 0
        for effect in self.effects:
            wrong += effect.sequence < highest.get(effect.key, 0)
            highest[effect.key] = max(effect.sequence, highest.get(effect.key, 0))
        return wrong

    @property
    def p95(self) -> float:
        """Seconds from an event's writing to its effect, in the calm stretch; infinite where nothing was timed."""
        ages = [effect.applied - effect.written for effect in self._timed()]
        return percentile(ages, 0.95) if ages else float("inf")

    @property
    def calm_rate(self) -> float:
        """Events a second, while they were timed."""
        written = [effect.written for effect in self._timed()]
        return len(written) / (max(written) - min(written)) if len(set(written)) > 1 else 0.0

    def _timed(self) -> list[Effect]:
        calm = [effect for effect in self.effects if effect.written < self.calm]
        begin = min((effect.written for effect in calm), default=0.0)
        end = max((effect.written for effect in calm), default=0.0)
        warm = min(WARM_SECONDS, (end - begin) / 2)
        return [effect for effect in calm if effect.written >= begin + warm]

    @property
    def p95_rough(self) -> float:
        """The same of all others: with the outages in it."""
        ages = [effect.applied - effect.written for effect in self.effects if effect.written >= self.calm]
        return percentile(ages, 0.95)


def run(say: Say, *, events: int = 100_000, rate: float = 500.0, kills: int = 5, tail: bool = False, keep: bool = False) -> Report:
    """All of it.

    Raises:
        StartError: something did not come up, or not again.
    """
    world: World | None = None
    try:
        with stage("events", say, keep=keep) as found:
            world = World(found, tail)
            say("starting PostgreSQL, NATS, the shop, two services and what moves data between them")
            world.begin()
            return report(_drill(world, say, events, rate, kills), events, rate, kills)
    finally:
        if world is not None:
            world.end()  # the database last: what is being stopped still uses it


def _drill(world: World, say: Say, events: int, rate: float, kills: int) -> Found:
    sampler = _Sampler(world)
    sampler.start()
    try:
        calm_events = int(min(events * CALM_SHARE, rate * CALM_SECONDS))
        say(f"calm: {calm_events:,} events, {rate:g} a second")
        _churn(world, calm_events, rate, 1)
        calm = time.time()
        rough = events - calm_events
        say(f"rough: {rough:,} events, while {', '.join(PARTS)} are killed {kills} times each")
        over = threading.Event()
        killers = world.kill(kills, rough / rate, over, seed=2025)
        try:
            _churn(world, rough, rate, 2)
            for killer in killers:
                killer.join(60)
        finally:
            over.set()
            for killer in killers:
                killer.join(60)
        if world.trouble:
            raise StartError(world.trouble)
        last = time.monotonic()
        emitted = {number: (str(event), key) for number, event, key in world.ask("SELECT number, event_id, key FROM drill_emitted")}
        say(f"{len(emitted):,} events were committed; waiting until all have come through")
        _drain(world, len(emitted))
        drained = time.monotonic() - last
    finally:
        sampler.stop()
    say("comparing the stores, row by row, and the view with what the shop gathers")
    drift = {service: _drifted(world.check(service)) for service in ("reviews", "product_view")}
    documents, live, ready = uvloop.run(_read(world))
    found = Found(emitted, tallying.lines(world.tally), calm, drift, documents, live, ready)
    found.kills = Counter(death.part for death in world.deaths)
    found.waiting, found.applied, found.drained = sampler.waiting, sampler.applied, drained
    found.marks = [Mark(death.at - sampler.began, death.part) for death in world.deaths if death.part in ("relay", "broker")]
    return found


def _churn(world: World, events: int, rate: float, seed: int) -> None:
    """Several writers, until they are done."""
    writers = [world.churn(events // WRITERS, rate / WRITERS, seed * 10 + number) for number in range(WRITERS)]
    for writer in writers:
        status = writer.process.wait(60 + 10 * events / rate)
        if status:
            raise StartError(f"{writer.name} failed with status {status}:\n{writer.tail()}")


def _drain(world: World, events: int) -> None:
    """Until the last one took effect; those that never do are counted as lost."""
    deadline = time.monotonic() + DRAIN_SECONDS
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        if trouble := next(filter(None, map(world.ended, world.parts)), ""):
            raise StartError(trouble)
        count = tallying.count(world.tally)
        if count >= events and not world.ask("SELECT 1 FROM outbox_event LIMIT 1"):
            return
        if count != seen:
            seen, since = count, time.monotonic()
        elif time.monotonic() - since > 30:
            return
        time.sleep(0.1)


def _drifted(told: dict[str, Any]) -> int:
    return sum(drift["missing"] + drift["extra"] + drift["different"] for drift in told["drift"])


async def _read(world: World) -> tuple[int, list[float], list[float]]:
    """(documents that differ, seconds of each read of the shop's, and of the view's)"""
    shop, view = Client(world.shop.port), Client(world.view.port)
    different = 0
    took: tuple[list[float], list[float]] = ([], [])
    try:
        for number in range(max(READS, ITEMS)):
            target = VIEW.format(1 + number % ITEMS)
            documents = []
            for client, times in ((shop, took[0]), (view, took[1])):
                began = time.perf_counter()
                answer = await client.request("GET", target)
                times.append(time.perf_counter() - began)
                documents.append({**json.loads(answer.body), "as_of": None})
            if number < ITEMS:
                different += documents[0] != documents[1]
    finally:
        shop.close()
        view.close()
        await asyncio.sleep(0)
    return different, *took


class _Sampler:
    """What waits and what was applied, second by second."""

    def __init__(self, world: World) -> None:
        self.waiting: list[float] = []
        self.applied: list[float] = []
        self.began = time.monotonic()
        self._world = world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        before = 0
        while not self._over.wait(max(0.0, self.began + STEP_SECONDS * (len(self.waiting) + 1) - time.monotonic())):
            [(waiting,)] = self._world.ask("SELECT count(*) FROM outbox_event")
            count = tallying.count(self._world.tally)
            self.waiting.append(float(waiting))
            self.applied.append((count - before) / STEP_SECONDS)
            before = count


def report(found: Found, events: int, rate: float, kills: int) -> Report:
    """What it has shown. `kills`: how often each part was to die."""
    live, ready = (1000 * percentile(times, 0.95) for times in (found.live, found.ready))
    figures = [
        Figure("events", "events that were committed", None, len(found.emitted)),
        Figure("kills", "deaths of relay, broker and consumers", None, sum(found.kills.values())),
        Figure("lost", "events without an effect", None, found.lost),
        Figure("doubled", "effects too many", None, found.doubled),
        Figure("disordered", "effects before an earlier one of their key", None, found.disordered),
        Figure("drift", "rows that differ from the shop's", None, sum(found.drift.values())),
        Figure("documents", "documents that are not what the shop gathers", None, found.documents),
        Figure("rate", "events a second, in the calm", None, round(found.calm_rate, 1)),
        Figure("p95_ms", "p95 from the change to its effect, in the calm", None, _ms(found.p95), "ms"),
        Figure("rough_p95_ms", "the same with everything being killed", None, _ms(found.p95_rough), "ms"),
        Figure("drained_s", "until all was applied, after the last event", None, round(found.drained, 1), "s"),
        Figure("read_p95_ms", "p95 of a product page's data", round(live, 2), round(ready, 2), "ms"),
    ]
    return Report(
        "events",
        f"{events:,} events, everything between the stores killed again and again",
        figures,
        _bars(found, rate, kills, live, ready),
        [
            Chart(
                "Events", "a second; in the outbox", STEP_SECONDS,
                [Line("waiting in the outbox", found.waiting, False), Line("applied a second", found.applied, True)],
                found.marks,
            )
        ],
        [
            "Counted from the shop's own database, where a trigger notes each event in its transaction, and from a consumer that writes",
            "a line for each effect. PostgreSQL runs without fsync, and everything on one machine, which also makes the load.",
        ],
        {"kills": dict(found.kills), "drift": found.drift},
        ("gathered live", "by events"),
    )  # fmt: skip


def _ms(seconds: float) -> float | None:
    return round(1000 * seconds, 1) if seconds != float("inf") else None


def _bars(found: Found, rate: float, kills: int, live: float, ready: float) -> list[Bar]:
    kept = found.calm_rate >= 0.95 * rate
    died = all(found.kills[part] == kills for part in PARTS)
    return [
        Bar("deaths of relay, broker and consumers", f"{kills * len(PARTS)}", f"{sum(found.kills.values())}", died),
        Bar("events lost", "0", f"{found.lost}", found.lost == 0 and bool(found.emitted)),
        Bar("effects doubled", "0", f"{found.doubled}", found.doubled == 0),
        Bar("effects out of their key's order", "0", f"{found.disordered}", found.disordered == 0),
        Bar("rows of the services that differ", "0", f"{sum(found.drift.values())}", not any(found.drift.values())),
        Bar("documents of the view that differ", "0", f"{found.documents}", found.documents == 0),
        Bar(
            f"p95 end to end at {rate:g} events a second",
            f"<= {1000 * P95_SECONDS:.0f} ms",
            f"{1000 * found.p95:.0f} ms at {found.calm_rate:.0f} a second",
            found.p95 <= P95_SECONDS and kept,
        ),
        Bar("p95 of a read of the view", f"<= {FASTER:g} x {live:.2f} ms, gathered live", f"{ready:.2f} ms", ready <= FASTER * live),
    ]
