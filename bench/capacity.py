"""A capacity model: what a rate of requests takes, and what is full first. bench/scale.py writes its tables.

Slopes come from docs/benchmarks.md, where they were measured, and from the code itself, where they can be counted. What nobody has measured
is an assumption, and is called so; each has a name here and a row on the page. Pure arithmetic, but for reading that page.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shadow.batch import Batch
from shadow.exchange import RouteCounts, Summary
from shadow.judge import Judgement
from shadow.latency import BUCKETS
from shadow.sinks.outbox import PACK_BYTES, PACK_COUNT
from shadow.sums import WIDER
from shadow.worker import WRITE_SECONDS

ROOT: Final = Path(__file__).resolve().parent.parent
BENCHMARKS: Final = ROOT / "docs" / "benchmarks.md"

LOAD: Final = 0.5
"""How busy a core is planned to be. The other half is for a machine that is lost, and for the p99."""
CORES: Final = 8
"""Of one gateway's machine, two of which are left to the kernel's network, the supervisor and the shipper."""
SPARE_CORES: Final = 2
ROUTES: Final = 50
ELIGIBLE: Final = 0.9
"""Share of requests that may be compared: GET and HEAD of routes with a candidate."""
ENOUGH: Final = 1_000
"""Pairs a second over all routes: a gate of 1,000 comparisons is through within a minute for each of 50 routes."""
PAIR_BYTES: Final = 4_096
"""An exchange before it is packed: two answers of 1 KB, a request, three heads."""
USER_RATE: Final = 0.2
"""Requests a second of somebody who is looking around."""
CACHE_SECONDS: Final = 10.0
"""`[identity] cache`."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A figure, and where it is from."""

    value: float
    unit: str
    what: str
    place: str
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Slopes:
    """All that the model rests on."""

    passing: Slope
    shadowing: Slope
    beside: Slope
    policy: Slope
    stamped: Slope
    envoy: Slope
    equal: Slope
    parsed: Slope
    idle: Slope
    asks_one: Slope
    asks_two: Slope
    published: Slope
    taken: Slope
    second_worker: Slope
    second_judge: Slope
    upserts: Slope

    def all(self) -> list[Slope]:
        return [getattr(self, name) for name in self.__slots__]


class NoFigureError(LookupError):
    """docs/benchmarks.md has no such table, row or column."""


def figure(text: str, section: str, row: str, column: str) -> float:
    """A number of the benchmarks' page: of the first table under a heading, in the row that begins so, of that column.

    Raises:
        NoFigureError: there is none.
    """
    found = re.search(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", found[1] if found else "", re.MULTILINE)
    ]
    for cells in table[2:]:
        if cells[0].startswith(row) and column in table[0]:
            number = re.search(r"-?[\d,]+(?:\.\d+)?", cells[table[0].index(column)])
            if number:
                return float(number[0].replace(",", ""))
    raise NoFigureError(f"{section}: no {column!r} of {row!r}")


def slopes(text: str) -> Slopes:
    """Of that text of docs/benchmarks.md.

    Raises:
        NoFigureError: a figure has gone from there.
    """

    def read(unit: str, what: str, section: str, row: str, column: str) -> Slope:
        return Slope(figure(text, section, row, column), unit, what, f"benchmarks, *{section}*: {row}, {column}")

    def share(what: str, pattern: str) -> Slope:
        found = re.search(pattern, text)
        if found is None:
            raise NoFigureError(f"Identity: {pattern}")
        return Slope(float(found[1]) / 100, "of requests", what, "benchmarks, *Identity*: requests that legacy is asked about")

    full, shadow, cpu = "Pass-through, as fast as answers come", "Shadow at 100 %, as fast as answers come", "CPU a request, µs"
    chosen = "measured once, when NATS was chosen: one client, small messages, two shared cores; not on the benchmarks' page"
    return Slopes(
        passing=read("µs", "a worker's CPU for a request", full, "Banyan", cpu),
        shadowing=read("µs", "the same, every request compared", shadow, "Banyan", cpu),
        beside=read("µs", "the shipper's CPU for a pair of equal bytes, redacted, compared and counted", shadow, "Banyan", "beside, µs"),
        policy=read(
            "µs", "flags, breaker, adaptive limit, rate limit", "Policy: all of it", "the same, an adaptive limit", "over passing it on, µs"
        ),
        stamped=read(
            "µs", "a caller who is remembered, stamped", "Identity", "who calls is remembered, and stamped", "over nobody asking, µs"
        ),
        envoy=read("µs", "Envoy's CPU for a request, beside", full, "Envoy", cpu),
        equal=read("pairs/s", "compared on a core, equal bytes", "Comparing", "1 KB, equal bytes", "a second"),
        parsed=read("pairs/s", "compared on a core, equal once parsed", "Comparing", "1 KB, equal once", "a second"),
        idle=read("KiB", "a connection that is idle", "Idle connections, 10,000", "Banyan", "KiB a connection"),
        asks_one=share("asked of legacy who it is, 1 worker, 50 users with 10 requests/s each", r"([\d.]+) % \(1 worker\)"),
        asks_two=share("the same, 2 workers", r"([\d.]+) % \(2 workers\)"),
        published=Slope(9_800, "messages/s", "JetStream: published", chosen),
        taken=Slope(11_700, "messages/s", "JetStream: taken and acknowledged", chosen),
        second_worker=Slope(1.9, "times one", "two workers", "load, upstreams and proxy share that machine's two cores", measured=False),
        second_judge=Slope(1.9, "times one", "two shadow workers", "for the same reason", measured=False),
        upserts=Slope(20_000, "rows/s", "PostgreSQL: counters that are added to", "it wants a server of its own", measured=False),
    )


def rows(requests: int, *, routes: int = 1) -> int:
    """Rows that one second of traffic adds to counters and their sums, counted by what counts them. `requests`: a second and route, all
    compared; a hundredth of them differs. Times are spread as by a log-normal with a median of 20 ms, without chance."""
    batch = Batch()
    for route in map(str, range(routes)):
        times: dict[int, int] = {}
        for number in range(requests):
            seconds = 0.02 * math.exp(0.8 * _normal((number + 0.5) / requests))
            bucket = next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
            times[bucket] = times.get(bucket, 0) + 1
        counts = RouteCounts(legacy=requests, eligible=requests, captured=requests, latency={"legacy": times, "shadow-candidate": times})
        batch.summary(Summary(0.0, "0", {route: counts}))
        for number in range(requests):
            batch.judgement(Judgement(route, 0.0, False, "mismatch" if number % 100 == 99 else "match"))
    return len(batch.tallies) * (1 + len(WIDER))


def _normal(share: float) -> float:
    """The quantile of a normal distribution, by bisection: close enough for buckets that are 2.5 times as wide as the one before."""
    low, high = -8.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + math.erf(middle / math.sqrt(2))) / 2 < share else (low, middle)
    return low


def asked(workers: int, requests: float) -> float:
    """The share of a user's requests for which a worker asks legacy who he is: each of them that he meets does, once a cache's life.
    `requests`: his, within that time, each to any worker."""
    return workers * (1 - math.pow(1 - 1 / workers, requests)) / requests


def scaled(rate: float, number: int, second: float) -> float:
    """What `number` of them carry together, where two carry `second` times what one does, and each doubling does the same."""
    return rate * math.pow(second, math.log2(number))


def needed(demand: float, rate: float, second: float) -> int:
    """How many carry `demand` at LOAD."""
    number = 1
    while scaled(rate, number, second) * LOAD < demand:
        number += 1
    return number


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate takes."""

    requests: int
    sample: float
    gateways: int
    pairs: float
    judges: int
    packs: float
    """Messages a second, and names that are written down so that each counts once: the one thing written that grows with traffic."""
    counters: float
    """Rows a second, were there one database."""
    cells: int
    """Databases, each with its stream, its share of the routes and of the shadow workers."""
    full: dict[str, float]
    """How much is taken of each thing, in each cell."""

    @property
    def workers(self) -> int:
        return self.gateways * (CORES - SPARE_CORES)

    @property
    def written(self) -> float:
        """Rows a second into all databases. Of n cells each has an nth of the writers, and each of those an nth of the routes."""
        return self.counters / self.cells + self.packs

    @property
    def cores(self) -> int:
        """Of gateways and shadow workers; and for each cell four for PostgreSQL and four for each of NATS' three servers."""
        return self.gateways * CORES + self.judges + self.cells * 4 * (1 + 3)

    @property
    def first(self) -> str:
        """What is full first when more comes."""
        return max(self.full, key=lambda name: self.full[name])


def plan(of: Slopes, requests: int, sample: float) -> Plan:
    """The smallest set-up that carries `requests` a second at LOAD, comparing `sample` of those that may be compared."""
    pairs = requests * ELIGIBLE * sample
    mirrored = ELIGIBLE * sample * (of.shadowing.value - of.passing.value)
    cost = of.passing.value + of.policy.value + of.stamped.value + mirrored
    machine = scaled(1e6 / cost, CORES - SPARE_CORES, of.second_worker.value)
    gateways = max(2, math.ceil(requests / (machine * LOAD)))
    judges = max(2, needed(pairs, of.parsed.value, of.second_judge.value))
    packs = pairs / min(PACK_COUNT, PACK_BYTES // PAIR_BYTES) + gateways  # and each gateway's counts, once a second
    counters = judges * ROUTES * rows(max(1, int(pairs / ROUTES / judges))) / WRITE_SECONDS
    messages = min(of.published.value, of.taken.value)
    cells = 1
    while counters / cells**2 + packs / cells > LOAD * of.upserts.value or packs / cells > LOAD * messages:
        cells += 1
    full = {
        "workers": requests / (gateways * machine),
        "shadow workers": pairs / scaled(of.parsed.value, judges, of.second_judge.value),
        "database": (counters / cells**2 + packs / cells) / of.upserts.value,
        "stream": packs / cells / messages,
    }
    return Plan(requests, sample, gateways, pairs, judges, packs, counters, cells, full)


def enough(requests: int) -> float:
    """The sample that compares ENOUGH."""
    return min(1.0, ENOUGH / (requests * ELIGIBLE))


def everything(requests: int) -> float:
    """All that may be."""
    del requests
    return 1.0
