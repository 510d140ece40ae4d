"""Sums by wider spans say what the tallies say, whatever is rolled up, purged or written late."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shadow import store, sums
from shadow.batch import Batch
from shadow.models import Tally, TallySum

NOW = 1_800_000_000 + 1234
NAMES = ("matched", "latency.legacy.3", "latency.legacy.4", "errors.candidate")


def write(chance: random.Random, ago: int, number: int = 300) -> None:
    batch = Batch()
    for _ in range(number):
        batch.count(chance.choice("ab"), NOW - chance.randrange(ago), chance.choice(NAMES), chance.randrange(1, 9))
    store.write(batch)


def counted(route: str, since: int, until: int = 2**40) -> dict[str, int]:
    """The truth, row by row."""
    found: Counter[str] = Counter()
    for row in Tally.objects.filter(route=route, at__gte=since, at__lt=until):
        found[row.name] += row.count
    return dict(found)


def told(route: str, since: float, until: float | None = None) -> dict[str, int]:
    return {name: count for _, name, count in sums.totals([route], since, until)}


def check(chance: random.Random) -> None:
    for _ in range(25):
        since = NOW - chance.randrange(90_000)
        assert told("a", since) == counted("a", since)
        until = since + chance.randrange(1, 90_000)
        assert told("b", since, until) == counted("b", since, until)
        for step in (60, 300, 3600):
            stepped: Counter[str] = Counter()
            for _, at, name, count in sums.by_step(["a"], since, until, step):
                assert at % step == 0
                stepped[name] += count
            assert stepped == counted("a", since, until)
    assert told("a", 0) == counted("a", 0)


@pytest.mark.django_db
def test_any_window_sums_exactly() -> None:
    chance = random.Random(5)
    write(chance, 80_000)
    check(chance)
    store.roll_up(NOW)
    check(chance)
    write(chance, 3_000)
    write(chance, 80_000, 20)  # a shipper whose database was away
    check(chance)
    store.roll_up(NOW + 1900)
    check(chance)
    assert not TallySum.objects.filter(width=60, at__lt=(NOW + 1900 - store.FINE_SECONDS) // 60 * 60).exists()
    store.purge(NOW, 40_000)
    check(chance)
    oldest = Tally.objects.order_by("at").first()
    assert oldest is not None
    assert oldest.at >= (NOW - 40_000) // 3600 * 3600
    before = set(TallySum.objects.values_list("route", "width", "at", "name", "count"))
    sums.rebuild()
    assert set(TallySum.objects.values_list("route", "width", "at", "name", "count")) == before


@pytest.mark.django_db
def test_what_a_shipper_of_before_wrote_is_summed_up_once_its_hour_is_rolled_up() -> None:
    hour = NOW // 3600 * 3600
    for at in (hour + 5, hour + 1800, hour + 3599):
        Tally.objects.create(route="a", at=at, width=1, name="matched", count=7)
    assert told("a", 0) == {}
    store.roll_up(hour + 3600 + store.FINE_SECONDS + 30)
    assert told("a", 0) == {"matched": 21}


@pytest.mark.django_db
def test_names_can_be_asked_for_by_how_they_begin_and_routes_are_found() -> None:
    chance = random.Random(6)
    write(chance, 5000)
    found = {name for _, name, _ in sums.totals(["a", "b"], 0, like="latency.")}
    assert found == {"latency.legacy.3", "latency.legacy.4"}
    batch = Batch()
    batch.count("", NOW, "bad_frames")
    store.write(batch)
    assert sums.routes() == ["a", "b"]
    assert sums.totals([], 0) == []
    assert sums.ends("nobody", 0, NOW) is None


@pytest.mark.django_db
def test_a_window_is_one_query_by_the_index() -> None:
    chance = random.Random(7)
    write(chance, 80_000)
    with CaptureQueriesContext(connection) as queries:
        sums.totals(["a", "b"], NOW - 86_399)
    (query,) = queries.captured_queries
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
            plan = [row[3] for row in cursor.fetchall()]
        assert not [line for line in plan if line.startswith("SCAN shadow_")], plan
