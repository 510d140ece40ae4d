"""Figures of endpoints are kept once, get coarser with age, and add up whatever happens."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.endpoints.figures import Figures
from gateway.endpoints.live import TOLD, MinuteFigures
from shadow import endpoint_store
from shadow.endpoint_store import REST, WIDTHS
from shadow.models import EndpointSpan

pytestmark = pytest.mark.django_db

DAY = 1_790_035_200
"""A day begins."""
HOUR = 3600
RETENTION = 14 * 86400.0


def minute(at: int, complete: bool = True, rest: float = 0.0, **counts: float) -> MinuteFigures:
    endpoints = [("GET", f"/{name}", Figures(count, {"legacy": count}, {200: count}, legacy=count / 10)) for name, count in counts.items()]
    return MinuteFigures(at, complete, endpoints, Figures(rest))


def kept(since: float = 0.0) -> dict[str, float]:
    found, rest, _ = endpoint_store.figures(since)
    return {template: figures.count for (_, template), figures in found.items()} | ({"rest": rest.count} if rest.count else {})


def test_a_minute_that_is_told_again_stands_in_the_place_of_what_was_told() -> None:
    now = DAY + 90.0
    endpoint_store.record("run-1", [minute(DAY, items=5), minute(DAY + 60, False, items=2, reviews=1)], now=now)
    endpoint_store.record("run-1", [minute(DAY + 60, False, items=7, rest=3.0)], now=now)
    endpoint_store.record("run-1", [minute(DAY, items=5), minute(DAY + 60, items=8, rest=3.0)], now=now)
    assert kept() == {"/items": 13.0, "rest": 3.0}
    assert kept(DAY + 60) == {"/items": 8.0, "rest": 3.0}
    assert endpoint_store.newest() == DAY + 60


def test_gateways_of_one_database_add_up() -> None:
    endpoint_store.record("run-1", [minute(DAY, items=5)], now=DAY)
    endpoint_store.record("run-2", [minute(DAY, items=7, reviews=1)], now=DAY)
    assert kept() == {"/items": 12.0, "/reviews": 1.0}
    found, _, first = endpoint_store.figures(0, template="/reviews")
    assert ([*found], first) == ([("GET", "/reviews")], DAY)
    assert found["GET", "/reviews"].statuses == {200: 1.0}


def test_with_age_spans_grow_and_nothing_is_lost() -> None:
    step = 300  # a minute's figures each five minutes
    moments = range(DAY, DAY + 3 * 86400, step)
    for at in moments:
        endpoint_store.record(f"run-{at % 2}", [minute(at, items=1.0, rest=2.0)], now=at)
        if at % 7200 == 0:
            endpoint_store.upkeep(RETENTION, now=at)
    now = moments[-1] + 60.0
    endpoint_store.upkeep(RETENTION, now=now)
    assert kept() == {"/items": len(moments), "rest": 2.0 * len(moments)}
    widths = Counter(EndpointSpan.objects.values_list("width", flat=True))
    assert set(widths) == {60, 600, 3600, 86400}
    assert sum(widths.values()) < 170
    for (width, after), (wider, _) in pairwise(WIDTHS):
        assert EndpointSpan.objects.filter(width=width, at__lt=now - after - wider).count() == 0
    # What lies in the last hour is known to the minute.
    assert kept(now - HOUR)["/items"] == HOUR / step


def test_what_is_rolled_up_is_not_taken_again_and_what_may_be_told_is_not_rolled_up() -> None:
    told = [minute(at, items=1.0) for at in range(DAY, DAY + 61 * 60, 60)]
    now = DAY + 60 * 60 + 59.0
    endpoint_store.upkeep(RETENTION, now=now)
    endpoint_store.record("run-1", told, now=now)
    endpoint_store.upkeep(RETENTION, now=now)
    assert set(EndpointSpan.objects.values_list("width", flat=True)) == {60}
    endpoint_store.upkeep(RETENTION, now=now + 2 * HOUR)
    endpoint_store.record("run-1", told, now=now + 2 * HOUR)
    assert kept() == {"/items": 61.0}


def test_old_figures_go() -> None:
    endpoint_store.record("run-1", [minute(DAY, items=1.0)], now=DAY)
    endpoint_store.upkeep(86400.0, now=DAY + 86400 + 1.0)
    assert kept() == {}
    assert endpoint_store.newest() is None


def test_a_wider_span_has_no_more_endpoints_than_a_minute() -> None:
    for index in range(10):
        counts = {f"{index}-{number}": float(number + 1) for number in range(TOLD)}
        endpoint_store.record("run-1", [minute(DAY + 60 * index, **counts)], now=DAY)
    endpoint_store.upkeep(RETENTION, now=DAY + 3 * HOUR)
    rows = EndpointSpan.objects.filter(width=600)
    assert rows.count() == TOLD + 1
    assert sum(kept().values()) == 10 * TOLD * (TOLD + 1) / 2
    assert kept()[f"/0-{TOLD - 1}"] == TOLD
    assert EndpointSpan.objects.filter(method=REST[0], template=REST[1]).count() == 1


def test_whatever_a_template_is_it_can_be_kept() -> None:
    long = [("GET", "/" + "x" * 900, Figures(1.0)), ("GET", "/" + "x" * 901, Figures(2.0)), ("METHODTOOLONG", "/\0", Figures(4.0))]
    endpoint_store.record("run-1", [MinuteFigures(DAY, True, long, Figures())], now=DAY)
    assert sorted(kept().values()) == [3.0, 4.0]


EVENTS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["run-1", "run-2"]), st.sampled_from(["a", "b"])), max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.integers(1, 60))
def test_in_whatever_order_minutes_come_sums_are_right(events: list[tuple[int, str, str]], every: int) -> None:
    EndpointSpan.objects.all().delete()
    true: dict[tuple[str, int], tuple[str, float]] = {}
    now = float(DAY)
    for number, (number_of, gateway, name) in enumerate(sorted(events)):
        at = DAY + 60 * number_of
        now = max(now, at)
        true[gateway, at] = (name, number + 1.0)
        endpoint_store.record(gateway, [minute(at, **{name: number + 1.0})], now=now)
        if number % every == 0:
            endpoint_store.upkeep(RETENTION, now=now)
    totals: Counter[str] = Counter()
    for name, count in true.values():
        totals[f"/{name}"] += int(count)
    assert kept() == {name: count for name, count in totals.items() if count}
