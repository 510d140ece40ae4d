"""Combinations of signatures in the database: kept when they are first seen, counted as tallies, read for recomputation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from django.db import connection

from shadow import counters
from shadow.batch import MAX_COMBINATIONS
from shadow.recompute import Combination, key, plain, read, resting
from shadow.storable import storable

if TYPE_CHECKING:
    from shadow.batch import Batch

_MOST = 2 * MAX_COMBINATIONS
"""With those that stand for all the rules of a time."""


def rows(batch: Batch) -> Counter[tuple[str, int, str]]:
    """Keeps the batch's combinations, and returns their counts as tallies. Within the transaction of the caller.

    A route that has MAX_COMBINATIONS gets no more of them, but for those which stand for all the rules of a time.
    """
    from shadow.models import Combination as Row

    counts: Counter[tuple[str, int, str]] = Counter()
    last: dict[tuple[str, str], tuple[Combination, int]] = {}
    known: dict[str, set[str]] = {}
    for (route, seen), shown in batch.combinations.items():
        members = seen
        if route not in known:
            known[route] = set(Row.objects.filter(route=route).values_list("key", flat=True))
        name = key(members)
        if name not in known[route] and len(known[route]) >= MAX_COMBINATIONS:
            members = tuple(sorted(resting(shown.under)))
            name = key(members)
            if not members or (name not in known[route] and len(known[route]) >= _MOST):
                continue
        known[route].add(name)
        newest = max(shown.seconds, default=0)
        last[route, name] = (members, max(newest, last.get((route, name), (members, 0))[1]))
        for second, count in shown.seconds.items():
            counts[route, second, counters.COMBINATION + name] += count
    _keep(last)
    return counts


def _keep(last: Mapping[tuple[str, str], tuple[Combination, int]]) -> None:

    if not last:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shadow_combination (route, key, members, last_seen) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (route, key) DO UPDATE SET last_seen = CASE WHEN excluded.last_seen > shadow_combination.last_seen"
            " THEN excluded.last_seen ELSE shadow_combination.last_seen END",
            [
                (route, name, json.dumps(storable(plain(members))), at)
                for (route, name), (members, at) in sorted(last.items(), key=lambda item: item[0])
            ],
        )


def counted(sums: Mapping[str, Mapping[str, int]]) -> dict[str, list[tuple[Combination, int]]]:
    """Of tallies summed up by route and name, each route's combinations with how often they were seen."""
    from shadow.models import Combination as Row

    wanted = {
        route: {name.removeprefix(counters.COMBINATION): total for name, total in names.items() if name.startswith(counters.COMBINATION)}
        for route, names in sums.items()
    }
    found: dict[str, list[tuple[Combination, int]]] = {route: [] for route in wanted}
    some = [route for route, totals in wanted.items() if totals]
    for route, name, members in Row.objects.filter(route__in=some).values_list("route", "key", "members") if some else ():
        if name in wanted[route]:
            found[route].append((read(members), wanted[route][name]))
    return found


def known(sums: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Of tallies summed up by route and name, in how many exchanges of each route it is kept what they showed together: `total` of
    `counted`, for what no rule is asked of."""
    from shadow.models import Combination as Row

    some = [route for route, names in sums.items() if any(name.startswith(counters.COMBINATION) for name in names)]
    found = dict.fromkeys(sums, 0)
    for route, name in Row.objects.filter(route__in=some).values_list("route", "key") if some else ():
        found[route] += sums[route].get(counters.COMBINATION + name, 0)
    return found


def total(counts: Iterable[tuple[Combination, int]]) -> int:
    """Exchanges whose combination is known."""
    return sum(count for _, count in counts)
