"""What ignored places showed of types and shapes, in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import connection

from shadow import counters
from shadow.batch import MAX_DRIFTS
from shadow.drift import key
from shadow.storable import storable

if TYPE_CHECKING:
    from shadow.batch import Batch
    from shadow.judge import Sample
    from shadow.models import Sample as Row


def rows(batch: Batch, make: Callable[[Sample], Row]) -> Counter[tuple[str, int, str]]:
    """Keeps what the batch saw, and returns its counts as tallies. Within the transaction of the caller. `make`: a sample's row."""
    from shadow.models import Drift

    counts: Counter[tuple[str, int, str]] = Counter()
    known: dict[str, dict[str, bool]] = {}
    for (route, drift), drifted in sorted(batch.drifts.items(), key=lambda item: (item[0][0], key(*_parts(item[0][1])))):
        if route not in known:
            known[route] = {name: sample is not None for name, sample in Drift.objects.filter(route=route).values_list("key", "sample")}
        path = storable(drift.path)
        name = key(path, drift.legacy, drift.candidate)
        if name not in known[route] and len(known[route]) >= MAX_DRIFTS:
            continue
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO shadow_drift (route, key, path, legacy, candidate, last_seen) VALUES (%s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (route, key) DO UPDATE SET last_seen = CASE WHEN excluded.last_seen > shadow_drift.last_seen"
                " THEN excluded.last_seen ELSE shadow_drift.last_seen END",
                [route, name, path, drift.legacy, drift.candidate, float(max(drifted.seconds, default=0))],
            )
        if not known[route].get(name) and drifted.sample is not None:
            sample = make(drifted.sample)
            sample.save(force_insert=True)
            if not Drift.objects.filter(route=route, key=name, sample=None).update(sample=sample):
                sample.delete()  # another worker was quicker
        known[route][name] = True
        for second, count in drifted.seconds.items():
            counts[route, second, counters.DRIFT + name] += count
    return counts


def _parts(drift: object) -> tuple[str, str, str]:
    from shadow.compare import Drift as Seen

    assert isinstance(drift, Seen)  # noqa: S101 - the batch holds nothing else
    return drift.path, drift.legacy, drift.candidate
