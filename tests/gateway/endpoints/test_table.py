"""Figures of the endpoints that matter most, in so many entries: what is promised of them holds for whatever comes."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.endpoints.figures import Figures, Row, by_class, method_of
from gateway.endpoints.table import SECOND, Table

STREAM = st.lists(
    st.tuples(
        st.integers(0, 12), st.sampled_from([0.0, 0.01, 0.5, 4.0]), st.sampled_from([1.0, 2.5, 8.0]), st.sampled_from([0, 200, 404, 500])
    ),
    max_size=120,
)
Seen = list[tuple[int, float, float, int]]


def row(seconds: float, status: int = 200, side: str = "legacy", route: str = "", cache: int = 0) -> Row:
    return ("GET", b"/", route, side, status, seconds, cache)


def filled(seen: Seen, entries: int) -> Table:
    table = Table(entries)
    for number, seconds, weight, status in seen:
        table.add(("GET", f"/{number}"), row(seconds, status), weight)
    return table


def costs(seen: Seen) -> dict[tuple[str, str], float]:
    true: dict[tuple[str, str], float] = defaultdict(float)
    for number, seconds, weight, _ in seen:
        true["GET", f"/{number}"] += weight * (1 + SECOND * seconds)
    return true


def holds(table: Table, seen: Seen, entries: int) -> None:
    """The promises of the module's docstring."""
    true, total = costs(seen), sum(costs(seen).values())
    assert len(table.entries) <= entries
    assert table.cost == pytest.approx(total)
    for key, cost in true.items():
        if cost > total / entries * (1 + 1e-9):
            assert key in table.entries
    for key, entry in table.entries.items():
        counted = entry.figures.count + SECOND * entry.figures.seconds
        assert counted <= true[key] * (1 + 1e-9)
        assert true[key] <= (counted + entry.missed) * (1 + 1e-9)
        assert entry.missed <= total / entries * (1 + 1e-9)
    whole = Figures()
    for entry in table.entries.values():
        whole.merge(entry.figures)
    whole.merge(table.rest)
    assert whole.count == pytest.approx(sum(weight for _, _, weight, _ in seen))
    assert whole.legacy == pytest.approx(sum(seconds * weight for _, seconds, weight, _ in seen))
    assert sum(whole.statuses.values()) == pytest.approx(whole.count)


@settings(max_examples=200, deadline=None)
@given(STREAM, st.integers(1, 13))
def test_what_is_promised_of_entries_holds(seen: Seen, entries: int) -> None:
    holds(filled(seen, entries), seen, entries)


@settings(max_examples=200, deadline=None)
@given(STREAM, STREAM, STREAM, st.integers(1, 13))
def test_it_holds_of_merged_tables_too(one: Seen, two: Seen, after: Seen, entries: int) -> None:
    table = filled(one, entries)
    table.merge(filled(two, entries))
    holds(table, [*one, *two], entries)
    for number, seconds, weight, status in after:
        table.add(("GET", f"/{number}"), row(seconds, status), weight)
    holds(table, [*one, *two, *after], entries)


def test_the_hottest_stay_among_a_million() -> None:
    table = Table(100)
    for number in range(100_000):  # every tenth of what a million would try; the bound does not depend on how many
        table.add(("GET", f"/{number}"), row(0.001), 1.0)
        if number % 10 == 0:
            table.add(("GET", "/hot"), row(0.001), 1.0)
        if number % 1000 == 0:
            table.add(("GET", "/report"), row(30.0), 1.0)
    assert len(table.entries) == len(table._heap) == 100
    hot, report = table.entries["GET", "/hot"], table.entries["GET", "/report"]
    assert hot.figures.count + hot.missed >= 10_000 >= hot.figures.count >= 10_000 - hot.missed
    assert report.figures.legacy + report.missed / SECOND >= 3000.0 >= report.figures.legacy
    assert table.displaced == pytest.approx(table.rest.count)


def test_figures_say_who_answered_how_and_how_fast() -> None:
    figures = Figures()
    for number in range(100):
        figures.observe(row(0.1 if number < 95 else 2.0, 200 if number % 10 else 503, cache=number % 3), 2.0)
    figures.observe(row(0.5, 404, "candidate", "reviews", 1), 1.0)
    figures.observe(row(9.0, 429, "gateway", "reviews"), 1.0)
    assert figures.count == 202.0
    assert figures.sides == {"legacy": 200.0, "candidate": 1.0, "gateway": 1.0}
    assert figures.legacy == pytest.approx(2 * (95 * 0.1 + 5 * 2.0))
    assert figures.seconds == pytest.approx(figures.legacy + 0.5), "what the gateway answers is nobody's time"
    assert figures.share(500, 599) == pytest.approx(20 / 202)
    assert figures.share(400, 499) == pytest.approx(2 / 202)
    assert by_class(figures.statuses) == {"2xx": 180.0, "5xx": 20.0, "4xx": 2.0}
    assert figures.quantile(0.5) == pytest.approx(0.1, rel=0.1)
    assert figures.quantile(0.99) == pytest.approx(2.0, rel=0.1)
    assert figures.quantile_of("legacy", 0.5) == pytest.approx(0.1, rel=0.1)
    assert figures.quantile_of("legacy", 0.99) == pytest.approx(2.0, rel=0.1)
    assert figures.quantile_of("candidate", 0.01) == figures.quantile_of("candidate", 0.99) == pytest.approx(0.5, rel=0.1)
    twice = msgspec.json.decode(msgspec.json.encode(figures), type=Figures)
    twice.merge(figures)
    assert twice.candidate_times == {number: 2 * count for number, count in figures.candidate_times.items()}
    assert Figures().quantile_of("legacy", 0.5) is Figures().quantile_of("candidate", 0.5) is None
    assert figures.cacheable == pytest.approx(67 / 133)
    assert figures.route == "", "most belong to none"
    assert Figures().quantile(0.5) is Figures().cacheable is None
    assert msgspec.json.decode(msgspec.json.encode(figures), type=Figures) == figures


def test_methods_are_few() -> None:
    assert [method_of(method) for method in ("GET", "HEAD", "PATCH", "PROPFIND", "x" * 100)] == ["GET", "GET", "PATCH", "OTHER", "OTHER"]
