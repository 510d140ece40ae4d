"""The evidence of noise in the database: how often each place of legacy's own pairs differed, of how many, and how."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from django.db import connection

from shadow.batch import MAX_SIGNATURES, OTHER, Seen
from shadow.compare import Kind
from shadow.noise import EVERYWHERE, Manner, merged
from shadow.storable import storable
from shadow.suggest import Evidence

if TYPE_CHECKING:
    from shadow.batch import Batch, Key

MAX_PRESENCES = 500
"""Places of a route of which it is counted how often they are there."""


def write(batch: Batch) -> None:
    """Adds the batch's noise. Within the transaction of the caller."""
    _write_noise(batch)
    _write_places(batch)


def _write_noise(batch: Batch) -> None:
    from shadow.models import Noise

    known: dict[str, set[tuple[str, str]]] = {}
    limited: dict[Key, tuple[Seen, Manner]] = {}
    for (route, kind, path), seen in batch.noise.items():
        if route not in known:
            known[route] = set(Noise.objects.filter(route=route).values_list("kind", "path"))
        place = storable(path)
        if (kind.value, place) not in known[route] and len(known[route]) >= MAX_SIGNATURES:
            place = OTHER
        known[route].add((kind.value, place))
        total, manner = limited.get((route, kind, place), (Seen(), Manner()))
        total.add(seen.count, seen.first, seen.last)
        own = batch.manners.get((route, kind, path))
        limited[route, kind, place] = (total, merged(manner, own) if own else manner)
    for (route, kind, path), (seen, manner) in sorted(limited.items(), key=lambda item: item[0]):
        with connection.cursor() as cursor:  # the row is this transaction's from here on
            cursor.execute(
                "INSERT INTO shadow_noise (route, kind, path, count, first_seen, last_seen, manner)"
                " VALUES (%s, %s, %s, %s, %s, %s, '{}')"
                " ON CONFLICT (route, kind, path) DO UPDATE SET count = shadow_noise.count + excluded.count, last_seen = CASE"
                " WHEN excluded.last_seen > shadow_noise.last_seen THEN excluded.last_seen ELSE shadow_noise.last_seen END",
                [route, kind.value, path, seen.count, seen.first, seen.last],
            )
        row = Noise.objects.get(route=route, kind=kind.value, path=path)
        row.manner = storable(merged(Manner.read(row.manner), manner).plain())
        row.save(update_fields=["manner"])


def _write_places(batch: Batch) -> None:
    from shadow.models import Presence

    known: dict[str, set[str]] = {}
    rows: dict[tuple[str, str], tuple[int, float]] = {}
    for (route, path), seen in sorted(batch.places.items()):  # EVERYWHERE is the first
        if route not in known:
            known[route] = set(Presence.objects.filter(route=route).values_list("path", flat=True))
        place = storable(path)
        if place in known[route] or len(known[route]) < MAX_PRESENCES:
            known[route].add(place)
            rows[route, place] = (seen.count, seen.last)
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shadow_presence (route, path, pairs, last_seen) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (route, path) DO UPDATE SET pairs = shadow_presence.pairs + excluded.pairs, last_seen = CASE"
            " WHEN excluded.last_seen > shadow_presence.last_seen THEN excluded.last_seen ELSE shadow_presence.last_seen END",
            [(route, path, pairs, last) for (route, path), (pairs, last) in sorted(rows.items())],
        )


def evidence(route: str) -> list[Evidence]:
    """All that is known of a route's noise, place by place. Nothing yet of the candidate's pairs."""
    from shadow.models import Noise, Presence

    pairs = dict(Presence.objects.filter(route=route).values_list("path", "pairs"))
    every = pairs.get(EVERYWHERE, 0)
    by_path: dict[str, list[Noise]] = defaultdict(list)
    for row in Noise.objects.filter(route=route).exclude(path=OTHER):
        by_path[row.path].append(row)
    found = []
    for path, rows in sorted(by_path.items()):
        manner = Manner()
        for row in rows:
            manner.add(Manner.read(row.manner))
        different = {Kind(row.kind): row.count for row in rows}
        first, last = min(row.first_seen for row in rows), max(row.last_seen for row in rows)
        # Of a place that is not counted, and of headers, every pair is one in which it could have been.
        found.append(Evidence(path, every, pairs.get(path, every), different, manner, first, last))
    return found
