"""A console's database as a busy day leaves it: `python -m bench.seeded FOLDER` makes FOLDER/banyan.toml and what is stored beside it.

All of it goes in by the doors that a shipper uses: answers are judged, judgements become batches, batches are written, seconds are rolled
up. Only that nobody waits a day for it. The same numbers give the same database, but for its moments.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from console.prepare import prepare
from gateway.config import Config, load
from gateway.endpoints.figures import Figures
from gateway.endpoints.live import TOLD, MinuteFigures
from shadow import counters, latency
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange, RouteCounts, Summary
from shadow.judge import Judge, Judgement
from shadow.redact import Redactor
from shadow.rules import Rule, RuleKind

DAY = 86_400
STRETCH = 600
"""Seconds that are written at once."""
SAMPLES = 20
"""Of each signature."""
SIDES = ((latency.LEGACY, 3), (latency.SHADOW + latency.CANDIDATE, 1))
"""Whose times there are, and the first of the four buckets that they are in."""
RULES = 40
AUDITED = 20_000
"""Rows of the audit: a year of a team."""
_HEAD = b"Content-Type: application/json\r\nCache-Control: no-store\r\nServer: one\r\n"


@dataclass(frozen=True)
class Size:
    """How much there is."""

    exchanges: int = 1_000_000
    signatures: int = 500
    routes: int = 50
    seconds: int = DAY


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was made."""

    config: Config
    exchanges: int
    """Compared."""
    signatures: int


def configuration(routes: int) -> str:
    """A banyan.toml with so many routes."""
    lines = ['[gateway]\nadmin = "127.0.0.1:0"\n[shadow]\ndatabase = "sqlite:///console.sqlite3"\nretention = "7d"']
    lines.append('[upstreams]\nlegacy = "http://127.0.0.1:1"\ncandidate = "http://127.0.0.1:2"')
    lines += [
        f'[[routes]]\nname = "{name(number)}"\nmatch = "/api/v1/{name(number)}/*"\ncandidate = "candidate"' for number in range(routes)
    ]
    return "\n".join(lines) + "\n"


def name(number: int) -> str:
    """Of the route of that number; reviews is the first, and has the most traffic."""
    return ("reviews", "items", "orders", "recommendations")[number] if number < 4 else f"domain-{number:02d}"


def fill(folder: Path, size: Size, *, now: float, say: Callable[[str], None] = lambda _: None) -> Seeded:
    """Makes the folder's banyan.toml and its database, whose day ends at `now` (Unix seconds). Django is set up in this process for it."""
    from shadow import store

    path = folder / "banyan.toml"
    path.write_text(configuration(size.routes))
    config = load(path)
    prepare(config)
    chance = random.Random(size.exchanges)  # noqa: S311 - the same database each time
    shown = judgements(size, now)
    weights = [1 / (number + 1) for number in range(size.routes)]  # as of Zipf: few endpoints have most of the traffic
    each = size.exchanges * STRETCH / size.seconds / sum(weights)
    stretches = size.seconds // STRETCH
    owed = [0.0] * size.routes
    done = 0
    for index in range(stretches):
        say(f"{index + 1} of {stretches} stretches, {done:,} exchanges")
        batch = Batch()
        begin = int(now) - size.seconds + index * STRETCH
        for number, weight in enumerate(weights):
            owed[number] += each * weight
            count = int(owed[number])
            owed[number] -= count
            done += count
            _stretch(batch, number, count, begin, shown[number], chance)
        store.write(batch)
    store.roll_up(now)
    _people(size, now, chance)
    _endpoints(size, now, chance)
    return Seeded(config, done, sum(map(len, shown)))


def judgements(size: Size, now: float) -> list[list[list[Judgement]]]:
    """By route and signature, what SAMPLES exchanges that showed it were judged."""
    judge = Judge(Redactor([], b"k" * 32), {})
    shown = []
    for number in range(size.routes):
        of_route = size.signatures // size.routes + (number < size.signatures % size.routes)
        shown.append([[_judged(judge, number, place, sample, now) for sample in range(SAMPLES)] for place in range(of_route)])
    return shown


def _judged(judge: Judge, number: int, place: int, sample: int, now: float) -> Judgement:
    legacy = {f"field_{each:02d}": {"id": each, "text": f"value {each} of {sample}", "rating": each / 4} for each in range(40)}
    candidate = json.loads(json.dumps(legacy))
    candidate[f"field_{place % 40:02d}"]["rating" if place < 40 else "text"] = "another"
    bodies = [json.dumps({"results": side}).encode() for side in (legacy, candidate)]
    found = judge.judge(
        Exchange(
            name(number), f"req-{number}-{place}-{sample}", now, "GET", f"/api/v1/{name(number)}/{sample}?page={sample % 3}", b"", b"",
            Answer("legacy", "legacy", 200, _HEAD, bodies[0], 0.02 + sample / 1000),
            Answer("candidate", "candidate", 200, _HEAD, bodies[1], 0.004 + sample / 1000),
        )
    )  # fmt: skip
    assert found is not None  # noqa: S101 - there is no limit
    assert found.outcome == "mismatch"  # noqa: S101 - they differ
    return found


def _stretch(batch: Batch, number: int, count: int, begin: int, shown: list[list[Judgement]], chance: random.Random) -> None:
    """`count` exchanges of a route within STRETCH seconds, of which some 3 % differ. No signature is so rare that it is not seen hourly."""
    turn = begin // STRETCH % (3600 // STRETCH)
    due = [each for place, each in enumerate(shown) if place % (3600 // STRETCH) == turn]
    often = [shown[min(int(chance.expovariate(0.5)), len(shown) - 1)] for _ in range(count) if shown and chance.random() < 0.03]
    different = (due + often)[:count]
    for signature in different:
        found = chance.choice(signature)
        at = begin + chance.random() * STRETCH
        batch.judgement(replace(found, at=at, sample=None if found.sample is None else replace(found.sample, at=at)))
    minutes = STRETCH // 60
    for minute in range(minutes):
        part, unlike = (total // minutes + (minute < total % minutes) for total in (count, len(different)))
        at = begin + 60 * minute + chance.randrange(60)
        batch.count(name(number), at, counters.MATCHED, max(0, part - unlike))
        times = {side: dict.fromkeys(range(low, low + 4), part // 4) for side, low in SIDES}
        counts = RouteCounts(legacy=part, eligible=part, captured=part, latency=times, errors={latency.LEGACY: int(minute == 3)})
        batch.summary(Summary(at, "w", {name(number): counts}))


def _people(size: Size, now: float, chance: random.Random) -> None:
    """What people did in that day, and what happened."""
    from console.models import Audit, Comment
    from shadow import gate_start, rulebook, states
    from shadow.models import Event, FlagChange, GuardTrip, Signature

    def ago() -> float:
        return now - chance.random() * size.seconds

    off, on = {"enabled": False}, {"enabled": True}
    FlagChange.objects.bulk_create(
        FlagChange(
            gateway="g", number=each, at=ago(), kind="flag", flag=f"{name(each % size.routes)}.serve", old=off, new=on, source="file"
        )
        for each in range(300)
    )
    Event.objects.bulk_create(
        Event(at=ago(), kind=chance.choice(Event.Kind.values), route=name(each % size.routes), text=f"event {each}") for each in range(300)
    )
    GuardTrip.objects.bulk_create(
        GuardTrip(
            gateway="g",
            number=each,
            at=ago(),
            route=name(each),
            flag=f"{name(each)}.serve",
            reason="errors",
            why="errors: 4 % of the candidate's answers, none of legacy's",
            figures={},
            outcome="switched-off",
            overridden=True,
        )
        for each in range(min(20, size.routes))
    )
    for row in Signature.objects.order_by("pk")[::5]:
        states.change(row.pk, chance.choice(("bug", "fixed")), by="ada", why="looked at it")

    for each in range(RULES):
        rule = Rule(RuleKind.IGNORE, f"$.results.made_{each:02d}")
        rulebook.add(name(0), rule, Rules(), author="ada", reason="a clock", at=ago(), settling=False)
    gate_start.begin(name(0), by="ada", why="1.4.2", at=now - size.seconds / 2)
    Comment.objects.bulk_create(
        Comment(signature=row, at=ago(), by="ada", text=f"looked at {each}")
        for row in Signature.objects.order_by("pk")[:5]
        for each in range(60)
    )
    actions = ("login", "signature-bug", "signature-fixed", "rule-made", "override-set", "comment")
    Audit.objects.bulk_create(
        (
            Audit(at=ago(), by=f"person{each % 20}", role="reviewer", action=actions[each % len(actions)], route=name(each % size.routes))
            for each in range(AUDITED)
        ),
        batch_size=1000,
    )


def _endpoints(size: Size, now: float, chance: random.Random) -> None:
    """What a busy gateway tells of its endpoints: as many in each minute as it tells of. Before the last hour a minute stands for ten."""
    from shadow import endpoint_store

    templates = [f"/api/v1/{name(number % size.routes)}/{{id}}/part{number}" for number in range(TOLD)]
    last = int(now) // 60 * 60
    for at in [*range(last - size.seconds, last - 3600, 600), *range(last - 3600, last + 60, 60)]:
        told = []
        for number, template in enumerate(templates):
            figures = Figures()
            for _ in range(12):
                side = "candidate" if number % 4 == 0 and chance.random() < 0.3 else "legacy"
                status = 503 if chance.random() < 0.01 else 200
                row = ("GET", b"/", name(number % size.routes), side, status, chance.lognormvariate(-3, 1), number % 3)
                figures.observe(row, 1000 / (number + 1))
            told.append(("GET", template, figures))
        endpoint_store.record("g", [MinuteFigures(at, at < last, told, Figures())], now=float(at))
    endpoint_store.upkeep(7 * DAY, now=now)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """The command. 1: the folder cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m bench.seeded", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exchanges", type=int, default=Size.exchanges)
    parser.add_argument("--signatures", type=int, default=Size.signatures)
    parser.add_argument("--routes", type=int, default=Size.routes)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if (given.folder / "console.sqlite3").exists():
        print(f"{given.folder}: there is a console.sqlite3 already; give another folder", file=sys.stderr)
        return 1
    began = time.monotonic()
    size = Size(given.exchanges, given.signatures, given.routes)
    seeded = fill(given.folder, size, now=time.time(), say=_say)
    took = time.monotonic() - began
    print(f"{seeded.exchanges:,} exchanges and {seeded.signatures} signatures on {size.routes} routes, in {took:.0f} s")
    print(f"look at them with: banyan console --config {seeded.config.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
