"""A database with much in it: what was counted of many routes over a day, as a shipper and its upkeep would have left it."""

from __future__ import annotations

import random
from collections import Counter

from shadow import counters, sums
from shadow.models import Combination, Signature, Tally
from shadow.recompute import combination, key, plain
from shadow.store import FINE_SECONDS

KINDS = ("value", "type", "missing", "extra", "order")


def routes(number: int) -> list[str]:
    """Their names."""
    return [f"route-{each:02d}" for each in range(number)]


def fill(now: float, *, names: list[str], exchanges: int, signatures: int, seconds: int = 86400) -> None:
    """`exchanges` over the last `seconds`, all compared; by the second in the last hour, else by the minute."""
    chance = random.Random(13)
    seen = _signatures(now, names, signatures, chance)
    tallies: Counter[tuple[str, int, int, str]] = Counter()
    fine = (int(now) - FINE_SECONDS) // 60 * 60
    for _ in range(exchanges):
        route = chance.choice(names)
        at = int(now) - chance.randrange(seconds)
        width = 1 if at >= fine else 60
        at = at // width * width
        counted = [counters.ELIGIBLE, counters.CAPTURED, counters.SERVED_LEGACY]
        counted.append(f"{counters.LATENCY}legacy.{min(13, max(0, round(chance.gauss(4, 1.2))))}")
        counted.append(f"{counters.LATENCY}shadow-candidate.{min(13, max(0, round(chance.gauss(5, 1.2))))}")
        if chance.random() < 0.99 or not seen[route]:
            counted.append(counters.MATCHED)
        else:
            counted += [counters.MISMATCHED, counters.COMBINATION + chance.choice(seen[route])]
        for name in counted:
            tallies[route, at, width, name] += 1
    Tally.objects.bulk_create(
        (Tally(route=route, at=at, width=width, name=name, count=count) for (route, at, width, name), count in tallies.items()),
        batch_size=5000,
    )
    sums.rebuild()


def _signatures(now: float, names: list[str], number: int, chance: random.Random) -> dict[str, list[str]]:
    """Keys of the combinations that each route shows."""
    rows, combinations = [], []
    keys: dict[str, list[str]] = {name: [] for name in names}
    for each in range(number):
        route, kind = names[each % len(names)], KINDS[each % len(KINDS)]
        path = f"$.items[*].part{each % 7}.field{each}"
        state = "bug" if each % 9 == 0 else "expected" if each % 9 == 1 else "new"
        last = now - chance.random() * 3000
        rows.append(
            Signature(route=route, kind=kind, path=path, state=state, count=chance.randrange(1, 999), first_seen=last - 9e4, last_seen=last)
        )
        members = combination([(kind, path)])  # type: ignore[list-item]  # a kind by its name
        keys[route].append(key(members))
        combinations.append(Combination(route=route, key=key(members), members=plain(members), last_seen=last))
    Signature.objects.bulk_create(rows, batch_size=500)
    Combination.objects.bulk_create(combinations, batch_size=500)
    return keys
