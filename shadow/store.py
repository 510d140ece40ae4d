"""The database behind the comparison: how it is set up, written, rolled up and purged. SQLite and PostgreSQL alike.

Counters are added by the database itself (`count = count + excluded.count`), so several shippers may write at once; rows are written in
one order everywhere, so that they can't wait for each other in a circle.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections, transaction

from shadow import combinations, database, drift_store, events, migrating, noise_store, states, sums
from shadow.batch import MAX_SIGNATURES, OTHER, Batch, Key, Seen
from shadow.judge import Sample
from shadow.storable import storable as storable  # where others look for it

if TYPE_CHECKING:
    from shadow.models import Sample as Row

FINE_SECONDS = 3600
"""How long counts are kept by the second; then by the minute."""
LOCK_SECONDS = 60.0
_ADVISORY = 0x62616E79  # "bany": the number under which this project takes PostgreSQL's advisory locks
_UPKEEP = 0x62616E7A  # the next one: writers share it, and whoever rolls up or purges has it alone


class StoreError(RuntimeError):
    """The database can't be used as asked; the message says why."""


FAILURES = (StoreError, DatabaseError)
"""What a database that can't be read or written raises, for whoever does not know Django."""


def setup(url: str, folder: Path) -> None:
    """Makes the models usable in this process. `folder` is what relative SQLite paths are relative to. May be called again.

    Raises:
        shadow.database.DatabaseURLError: the address is not one.
        StoreError: this process already uses another database.
    """
    default = database.settings(url, folder)
    database.prepare(url, folder)
    if not settings.configured:
        settings.configure(
            DATABASES={"default": default},
            INSTALLED_APPS=["shadow"],
            USE_TZ=True,
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        )
        # Not django.setup(): it loads URLs, views and mail for a log that is not Django's here, a tenth of what the models' start costs.
        apps.populate(settings.INSTALLED_APPS)
        close_at_the_end()
    elif any(settings.DATABASES["default"][key] != default[key] for key in ("ENGINE", "NAME")):
        raise StoreError("this process already uses another database; use a process of its own for each")


def migrate(lock_folder: Path) -> None:
    """Brings the tables up to date. Safe while other processes do the same: one goes first, the others find nothing left to do.

    Raises:
        StoreError: another has been at it for a minute.
        django.db.Error: the database refused.
    """
    renew_connection()  # this may be another try, after the first has broken it
    with _migrating(lock_folder):
        migrating.migrate()


def open_database(url: str, folder: Path) -> None:
    """`setup` and `migrate`: what a command does before it asks shadow.report anything.

    Raises:
        shadow.database.DatabaseURLError, StoreError, OSError, django.db.Error: as these do.
    """
    setup(url, folder)
    migrate(database.state_folder(url, folder))


@contextmanager
def _migrating(lock_folder: Path) -> Iterator[None]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY])
        return
    lock_folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_folder / "migrate.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError(f"another process has held {lock_folder / 'migrate.lock'} for {LOCK_SECONDS:g} s") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def write(batch: Batch) -> None:
    """Adds `batch` to what is stored, all of it or nothing.

    Raises:
        django.db.Error: the database refused; the batch may be written again.
    """
    with transaction.atomic():
        among_writers(alone=False)
        tallies = batch.tallies + combinations.rows(batch) + drift_store.rows(batch, _row)
        _write_tallies(tallies)
        noise_store.write(batch)
        ids = _upsert_signatures(_limited(batch.expected, excused=True), _limited(batch.signatures))
        touched = _write_samples(batch, ids)
        for signature in sorted(touched):
            _prune_samples(signature)
        sums.add(tallies)


def among_writers(*, alone: bool) -> None:
    """Within a transaction: waits until whoever rolls up or purges is done; `alone`: until every writer is.

    SQLite's transactions have the file to themselves anyway. PostgreSQL's would meet: what is rolled up is counted by one statement and
    deleted by the next, and what a writer adds in between would be gone; and they would wait for each other's rows in a circle.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}(%s)", [_UPKEEP])


def _write_tallies(tallies: Counter[tuple[str, int, str]]) -> None:
    rows = [(route, at, 1, name, count) for (route, at, name), count in sorted(tallies.items())]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shadow_tally (route, at, width, name, count) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (route, at, width, name) DO UPDATE SET count = shadow_tally.count + excluded.count",
            rows,
        )


def _limited(signatures: dict[Key, Seen], *, excused: bool = False) -> dict[Key, Seen]:
    """The signatures, with those under OTHER that are new to a route which has MAX_SIGNATURES already.

    Those that rules excuse get half of the places, and beyond that none: they are counted with their combination all the same, must not
    take the places of what nobody has looked at, and must not make OTHER, in which anything may be, expected.
    """
    from shadow.models import Signature

    known: dict[str, set[tuple[str, str]]] = {}
    limited: dict[Key, Seen] = {}
    for (route, kind, path), seen in signatures.items():
        if route not in known:
            known[route] = set(Signature.objects.filter(route=route).values_list("kind", "path"))
        room = (kind.value, path) in known[route] or len(known[route]) < (MAX_SIGNATURES // 2 if excused else MAX_SIGNATURES)
        place = path if room else OTHER
        if excused and place == OTHER:
            continue
        known[route].add((kind.value, place))
        limited.setdefault((route, kind, place), Seen()).add(seen.count, seen.first, seen.last)
    return limited


def _upsert_signatures(expected: dict[Key, Seen], seen: dict[Key, Seen]) -> dict[Key, int]:
    """Adds what was seen to the signatures, in one order. Returns the ids of those that are not excused."""
    ids: dict[Key, int] = {}
    for key in sorted({*expected, *seen}):
        if key in expected:
            _upsert_expected(key, expected[key])
        if key in seen:
            ids[key] = _upsert_signature(key, seen[key])
    return ids


def _upsert_signature(key: Key, seen: Seen) -> int:
    route, kind, path = key
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO shadow_signature (route, kind, path, state, count, first_seen, last_seen) VALUES (%s, %s, %s, 'new', %s, %s, %s)"
            " ON CONFLICT (route, kind, path) DO UPDATE SET count = shadow_signature.count + excluded.count, last_seen = CASE"
            " WHEN excluded.last_seen > shadow_signature.last_seen THEN excluded.last_seen ELSE shadow_signature.last_seen END"
            " RETURNING id, state, state_since",
            [route, kind.value, storable(path), seen.count, seen.first, seen.last],
        )
        found, state, since = cursor.fetchone()
    if state == "fixed" and seen.last > since:  # asked of the row that this transaction has locked: of several writers one re-opens it
        states.reopen(int(found), seen.last)
    return int(found)


def _upsert_expected(key: Key, seen: Seen) -> None:
    """Counts a signature that rules excuse. One that is open is left alone: what is excused is no sighting of it."""
    route, kind, path = key
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO shadow_signature (route, kind, path, state, count, first_seen, last_seen)"
            " VALUES (%s, %s, %s, 'expected', %s, %s, %s)"
            " ON CONFLICT (route, kind, path) DO UPDATE SET count = shadow_signature.count + excluded.count, last_seen = CASE"
            " WHEN excluded.last_seen > shadow_signature.last_seen THEN excluded.last_seen ELSE shadow_signature.last_seen END"
            " WHERE shadow_signature.state = 'expected'",
            [route, kind.value, storable(path), seen.count, seen.first, seen.last],
        )


def _write_samples(batch: Batch, ids: dict[Key, int]) -> set[int]:
    """Stores each sample once, however many signatures it shows. Returns the signatures that have new ones."""
    from shadow.models import Sighting

    rows: dict[int, Row] = {}
    sightings: list[Sighting] = []
    for key, samples in sorted(batch.samples.items(), key=lambda item: item[0]):
        signature = ids.get(key) or ids.get((key[0], key[1], OTHER))
        if signature is None:
            continue
        for sample in samples:
            row = rows.get(id(sample))
            if row is None:
                row = rows[id(sample)] = _row(sample)
                row.save(force_insert=True)
            sightings.append(Sighting(signature_id=signature, sample=row))
    Sighting.objects.bulk_create(sightings, ignore_conflicts=True)
    return {sighting.signature_id for sighting in sightings}


def _row(sample: Sample) -> Row:
    from shadow.models import Sample as Row

    return Row(
        at=sample.at,
        request_id=storable(sample.request_id)[:200],
        method=sample.method[:40],
        target=storable(sample.target),
        served=sample.served,
        legacy=storable(sample.legacy),
        candidate=storable(sample.candidate),
        differences=storable(sample.differences),
        cut=sample.cut,
        request=storable(sample.request),
    )


def _prune_samples(signature: int) -> None:
    """Keeps the newest MAX_SAMPLES of a signature; a sample that shows no other one goes."""
    from shadow.models import MAX_SAMPLES, Sighting
    from shadow.models import Sample as Row

    old = list(Sighting.objects.filter(signature_id=signature).order_by("-sample_id").values_list("id", "sample_id")[MAX_SAMPLES:])
    if old:
        Sighting.objects.filter(id__in=[sighting for sighting, _ in old]).delete()
        Row.objects.filter(id__in=[sample for _, sample in old], sighting=None).delete()


def roll_up(now: float) -> None:
    """Turns counts by the second that are over an hour old into counts by the minute."""
    before = (int(now) - FINE_SECONDS) // 60 * 60
    with transaction.atomic(), connection.cursor() as cursor:
        among_writers(alone=True)
        cursor.execute(
            "INSERT INTO shadow_tally (route, at, width, name, count)"
            " SELECT route, at / 60 * 60, 60, name, SUM(count) FROM shadow_tally WHERE width = 1 AND at < %s GROUP BY route, at / 60, name"
            " ON CONFLICT (route, at, width, name) DO UPDATE SET count = shadow_tally.count + excluded.count",
            [before],
        )
        cursor.execute("DELETE FROM shadow_tally WHERE width = 1 AND at < %s", [before])
        sums.rolled_up(before)


def purge(now: float, retention: float) -> None:
    """Removes what is older than `retention` seconds; counts, and what they count, by the whole hour. A signature that a person has judged
    stays: it holds the judgement, also where it was seen again after that."""
    from shadow.models import Combination, Drift, FlagChange, GuardTrip, Noise, Presence, Signature, Tally
    from shadow.models import Sample as Row

    before = now - retention
    counted = int(before) // sums.LONGEST * sums.LONGEST
    with transaction.atomic():
        among_writers(alone=True)
        Tally.objects.filter(at__lt=counted).delete()
        sums.purge(counted)
        Row.objects.filter(at__lt=before).delete()
        Combination.objects.filter(last_seen__lt=counted).delete()
        Signature.objects.filter(last_seen__lt=before, state__in=(Signature.State.NEW, Signature.State.EXPECTED), changes=None).delete()
        for kept in (Noise, Presence, Drift):
            kept.objects.filter(last_seen__lt=before).delete()
        FlagChange.objects.filter(at__lt=before).delete()
        GuardTrip.objects.filter(at__lt=before).delete()
        events.purge(before)


def close_connection() -> None:
    """Ends this thread's: SQLite's last one to a file takes its -wal along, and nobody can copy the file without half of what is in it."""
    connection.close()


def close_at_the_end() -> None:
    """Has this thread's be ended with the process, which may end by gateway.quick.leave: then nobody else does so."""
    atexit.register(connections.close_all)


def renew_connection() -> None:
    """Gives up a connection that broke, so that the next query makes a new one."""
    connection.close_if_unusable_or_obsolete()
