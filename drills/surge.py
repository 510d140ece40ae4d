"""A push notification, twice: as it was, with everybody at the shop's own door; and with the gateway before it.

The shop is real Django under gunicorn, in a container that is killed and started anew when its health check does not answer
(`drills.pod`). What bounds it is its database's time: every query waits, and only so many threads wait at once. So ten times its capacity
is within reach of a machine that also runs the load, and what is seen is the crowd's doing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from demo.client import Client, ClientError
from demo.processes import StartError
from drills import timeline
from drills.gateway import start_gateway
from drills.load import Connections, OpenLoop, Phase, Seen
from drills.pod import Pod, Probe
from drills.report import Bar, Chart, Figure, Level, Line, Mark, Report
from drills.stage import Say, stage

OK: Final = "answered"
SHED: Final = "shed"
LEFT: Final = "left"
FAILED: Final = "failed"
PATIENCE_SECONDS: Final = 3.0
"""Nobody waits longer for a page on a phone."""
THREADS: Final = 8
QUERY_MS: Final = 50
"""A page of the catalogue takes three queries."""
TARGET: Final = "/api/v1/items/{}"
ITEMS: Final = 20
CALM_SECONDS: Final = 3.0
CALM: Final = 0.4
"""Of the capacity, before and after."""
AFTER_SECONDS: Final = 3.5
WARM_SECONDS: Final = 1.0
"""Every thread has opened its database by then, and Django has imported what it imports at first use."""
MEASURE_SECONDS: Final = 4.0
CLIENTS: Final = 5000
"""Different addresses."""
GOODPUT: Final = 0.9
SLOWER: Final = 2.0
RECOVERED_SECONDS: Final = 3.0

TOML: Final = """\
[gateway]
trusted_proxies = ["127.0.0.1/32"]
access_log = ""
[upstreams.legacy]
url = "http://127.0.0.1:{shop}"
concurrency = {{ limit = "adaptive", min = 4, max = 64, queue = 16, queue_timeout = "100ms" }}
"""


@dataclass(slots=True)
class Side:
    """What one of the two runs has shown."""

    seen: list[Seen]
    began: float
    """Of time.monotonic()."""
    seconds: float
    """Of the surge."""
    restarts: list[float]
    failed_probes: int
    own_failed_probes: int | None
    """Of the gateway's own health check."""

    @property
    def over(self) -> float:
        """When the surge was, in seconds from the beginning."""
        return CALM_SECONDS + self.seconds

    @property
    def goodput(self) -> float:
        """Whole answers a second, in time for whoever asked, while the surge lasted."""
        return sum(1 for one in self.seen if one.outcome == OK and CALM_SECONDS <= one.ended < self.over) / self.seconds

    @property
    def p99(self) -> float | None:
        """Of what was answered in the surge, in milliseconds."""
        return _p99(self.seen, "surge")

    @property
    def admitted_p99(self) -> float | None:
        """Of all who were let in: those too who left before they were answered."""
        return _p99(self.seen, "surge", {OK, LEFT})

    @property
    def unloaded(self) -> float | None:
        """The same before it."""
        return _p99(self.seen, "before")

    @property
    def recovery(self) -> float:
        """Seconds from the end of the surge until everybody is answered again, and as soon as before it."""
        limit = SLOWER * (self.unloaded or 0.0) / 1000
        after = [one for one in self.seen if one.phase == "after"]
        if not after:
            return float("inf")
        bad = [one.ended for one in after if one.outcome != OK or one.took > limit]
        return max([0.0, *(ended - self.over for ended in bad)])

    def count(self, outcome: str) -> int:
        """Of the surge's requests."""
        return sum(1 for one in self.seen if one.phase == "surge" and one.outcome == outcome)


def run(say: Say, *, seconds: float = 30.0, times: float = 10.0, keep: bool = False) -> Report:
    """Both runs.

    Raises:
        StartError: something did not come up.
    """
    with stage("surge", say, keep=keep) as found:
        say("starting a shop, and a gateway")
        pod = Pod(found.folder, threads=THREADS, query_ms=QUERY_MS)
        try:
            with ThreadPoolExecutor(thread_name_prefix="start") as threads:
                shop = threads.submit(pod.begin)
                gateway = threads.submit(start_gateway, found, TOML.format(shop=pod.port), workers=1).result()
                shop.result()
            capacity = uvloop.run(_capacity(pod.port))
            say(f"the shop answers {capacity:.0f} requests a second, and not more")
            rate = times * capacity
            say(f"without the gateway: {rate:.0f} requests a second for {seconds:g} s")
            without = _side(pod, pod.port, capacity, rate, seconds, None)
            pod.renew()
            say(f"with the gateway: {rate:.0f} requests a second for {seconds:g} s")
            with_gateway = _side(pod, gateway.port, capacity, rate, seconds, gateway.admin)
        finally:
            pod.end()
        return report(without, with_gateway, capacity, rate)


def _side(pod: Pod, port: int, capacity: float, rate: float, seconds: float, admin: int | None) -> Side:
    pod.watch()
    own = Probe(admin, _nothing) if admin is not None else None
    if own is not None:
        own.begin()
    try:
        load = uvloop.run(_surge(port, capacity, rate, seconds))
    finally:
        failed = pod.unwatch()
        if own is not None:
            own.end()
    if pod.trouble:
        raise StartError(pod.trouble)
    restarts = [killed for killed in pod.restarts if killed >= load.began]
    return Side(load.seen, load.began, seconds, restarts, failed, own.failures if own is not None else None)


def _nothing() -> None:
    """Nobody restarts the gateway: it is counted."""


async def _surge(port: int, capacity: float, rate: float, seconds: float) -> OpenLoop:
    connections = Connections(port)
    phases = [
        Phase("before", CALM_SECONDS, CALM * capacity),
        Phase("surge", seconds, rate),
        Phase("after", AFTER_SECONDS, CALM * capacity),
    ]

    async def ask(number: int) -> str:
        async with connections.one() as client:
            return await _ask(client, number)

    load = OpenLoop(phases, ask, most=4000, patience=PATIENCE_SECONDS + 1)
    try:
        await load.run()
    finally:
        connections.close()
        await asyncio.sleep(0)
    return load


async def _ask(client: Client, number: int) -> str:
    person = number * 7919 % CLIENTS
    fields = {"X-Forwarded-For": f"10.1.{person >> 8}.{person & 255}"}
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await client.request("GET", TARGET.format(1 + number % ITEMS), fields=fields)
    except TimeoutError:
        return LEFT
    except ClientError:
        return FAILED
    if answer.status == 200:
        return OK
    return SHED if answer.header("Banyan-Error") == "shed" else FAILED


async def _capacity(port: int) -> float:
    """Answers a second of the shop by itself, with more connections than it has threads: what it can do at best."""
    begin = time.monotonic() + WARM_SECONDS
    end = begin + MEASURE_SECONDS
    done = 0

    async def again_and_again(number: int) -> None:
        nonlocal done
        client = Client(port)
        try:
            while time.monotonic() < end:
                if await _ask(client, number) == OK and begin <= time.monotonic() < end:
                    done += 1
        finally:
            client.close()

    await asyncio.gather(*(again_and_again(number) for number in range(2 * THREADS)))
    await asyncio.sleep(0)
    return done / MEASURE_SECONDS


def report(without: Side, with_gateway: Side, capacity: float, rate: float) -> Report:
    """What both have shown."""
    sides = (without, with_gateway)
    figures = [
        _figure("goodput", "answered in time, a second", [round(side.goodput, 1) for side in sides]),
        _figure("goodput_share", "the same, of the shop's capacity", [round(100 * side.goodput / capacity, 1) for side in sides], "%"),
        _figure("p99_ms", "p99 of what was answered in time", [side.p99 for side in sides], "ms"),
        _figure("unloaded_p99_ms", "the same before the surge", [side.unloaded for side in sides], "ms"),
        _figure("restarts", "restarts of the shop", [len(side.restarts) for side in sides]),
        _figure("failed_probes", "health checks of the shop that failed", [side.failed_probes for side in sides]),
        _figure("shed", "told to come again", [side.count(SHED) for side in sides]),
        _figure("left", f"left after {PATIENCE_SECONDS:g} s without an answer", [side.count(LEFT) for side in sides]),
        _figure("failed", "failed: refused, cut off, errors", [side.count(FAILED) for side in sides]),
        _figure("recovery_s", "until everybody was served again", [round(side.recovery, 1) for side in sides], "s"),
    ]
    return Report(
        "surge",
        f"{rate / capacity:.0f} times what the shop can take, for {with_gateway.seconds:g} s",
        figures,
        _bars(with_gateway, capacity),
        [_chart(sides, capacity)],
        [
            f"The shop has {THREADS} threads, and every query of its database takes {QUERY_MS} ms longer: that is what bounds it, and not",
            "the processor, which it shares with the load. A container that dies is back as soon as it answers; its health check is asked",
            "every second. People who left do not come back by themselves: with those who do, it is worse without the gateway.",
        ],
        {"capacity": round(capacity, 1), "rate": round(rate, 1), "outcomes": [_outcomes(side) for side in sides]},
    )


def _figure(key: str, name: str, values: list[Any], unit: str = "") -> Figure:
    return Figure(key, name, values[0], values[1], unit)


def _p99(seen: list[Seen], phase: str, outcomes: Set[str] = frozenset({OK})) -> float | None:
    times = timeline.took(seen, set(outcomes), phase)
    return round(1000 * timeline.percentile(times, 0.99), 1) if times else None


def _bars(side: Side, capacity: float) -> list[Bar]:
    share = side.goodput / capacity
    p99, unloaded = side.admitted_p99 or float("inf"), side.unloaded or 0.0
    return [
        Bar("goodput in the surge", f">= {GOODPUT:.0%} of the capacity", f"{100 * share:.1f} %", share >= GOODPUT),
        Bar("p99 of what was let in", f"<= {SLOWER:g} x {unloaded:.0f} ms, before the surge", f"{p99:.0f} ms", p99 <= SLOWER * unloaded),
        Bar("everybody is served again", f"within {RECOVERED_SECONDS:g} s", f"{side.recovery:.1f} s", side.recovery <= RECOVERED_SECONDS),
        Bar("failed: refused, cut off, errors", "0", f"{side.count(FAILED)}", not side.count(FAILED)),
        Bar("restarts of the shop", "0", f"{len(side.restarts)}", not side.restarts),
        Bar("health checks of the gateway that failed", "0", f"{side.own_failed_probes}", side.own_failed_probes == 0),
    ]


def _chart(sides: tuple[Side, Side], capacity: float) -> Chart:
    without, with_gateway = sides
    seconds = with_gateway.over + AFTER_SECONDS
    lines = [
        Line(label, timeline.rate(side.seen, {OK}, seconds), with_it)
        for label, side, with_it in (("without the gateway", without, False), ("with the gateway", with_gateway, True))
    ]
    marks = [
        Mark(CALM_SECONDS, "surge", with_gateway.over),
        *(Mark(killed - without.began, "restart") for killed in without.restarts if killed - without.began < seconds),
    ]
    return Chart("Answered in time", "a second", timeline.STEP_SECONDS, lines, marks, [Level(capacity, "capacity")])


def _outcomes(side: Side) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for one in side.seen:
        counts.setdefault(one.phase, Counter())[one.outcome] += 1
    return {phase: dict(found) for phase, found in counts.items()}
