"""docs/design/scale.md has the tables of the script, and the script's arithmetic is what the page says of it."""

from __future__ import annotations

import pytest

from bench import scale
from bench.capacity import BENCHMARKS, LOAD, NoFigureError, Slopes, asked, enough, figure, needed, plan, rows, scaled, slopes


@pytest.fixture(scope="module")
def of() -> Slopes:
    return slopes(BENCHMARKS.read_text())


def test_the_page_is_what_the_script_computes(of: Slopes) -> None:
    page = scale.PAGE.read_text()
    assert scale.filled(page, of) == page, "run: python -m bench.scale --write"
    for name in scale.tables(of, scale.PRICE):
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- /{name} -->") == 1, name


def test_other_figures_are_another_page(of: Slopes) -> None:
    page = scale.PAGE.read_text()
    text = BENCHMARKS.read_text()
    other = slopes(text.replace(f"| {of.passing.value} |", f"| {2 * of.passing.value} |"))
    assert other.passing.value == 2 * of.passing.value
    assert scale.filled(page, other) != page


def test_a_figure_that_has_gone_is_said() -> None:
    with pytest.raises(NoFigureError, match="no 'CPU' of 'Banyan'"):
        figure("## A table\n\n| peer | RSS |\n| --- | --- |\n| Banyan | 3 |\n", "A table", "Banyan", "CPU")
    with pytest.raises(NoFigureError):
        slopes("")


def test_a_figure_is_of_its_own_table_alone() -> None:
    text = "## One\n\n| peer | µs |\n| --- | --- |\n| Envoy | 3 |\n\n## Two\n\n| peer | µs |\n| --- | --- |\n| Banyan | 1,234.5 to 9 |\n"
    assert figure(text, "Two", "Banyan", "µs") == 1234.5
    with pytest.raises(NoFigureError):
        figure(text, "One", "Banyan", "µs")


def test_what_is_not_measured_is_called_so_on_the_page(of: Slopes) -> None:
    assumed = [slope for slope in of.all() if not slope.measured]
    assert assumed
    for slope in assumed:
        assert f"| {slope.what} | {slope.value:,g} {slope.unit} | **not measured, assumed**" in scale.PAGE.read_text()


def test_what_is_written_does_not_grow_with_the_traffic() -> None:
    """Counted by shadow.batch itself: names and buckets end it."""
    counted = [rows(requests) for requests in (10, 100, 1_000, 10_000)]
    assert counted == sorted(counted)
    assert counted[-1] < 2 * counted[0]
    assert rows(10_000) <= rows(5_000) + 2 * 4  # one more bucket of each side, with its sums
    assert rows(100, routes=3) == 3 * rows(100)


def test_the_model_of_who_is_asked_gives_what_was_measured(of: Slopes) -> None:
    """50 users, 500 requests/s, a cache of 10 s: a hundred requests of each within its life."""
    assert asked(1, 100) == pytest.approx(of.asks_one.value, rel=0.05)
    assert asked(2, 100) == pytest.approx(of.asks_two.value, rel=0.05)
    assert asked(10_000, 100) == pytest.approx(1, rel=0.01)


def test_no_plan_is_fuller_than_it_may_be(of: Slopes) -> None:
    for requests in scale.STEPS:
        for sample in (enough(requests), 1.0):
            found = plan(of, requests, sample)
            assert max(found.full.values()) <= LOAD + 1e-9, found
            assert found.gateways >= 2
            assert found.judges >= 2


def test_with_enough_compared_only_gateways_grow(of: Slopes) -> None:
    ten, million = (plan(of, requests, enough(requests)) for requests in (10_000, 1_000_000))
    assert (ten.judges, ten.cells) == (million.judges, million.cells)
    assert million.counters == ten.counters
    assert million.gateways > ten.gateways


def test_more_is_never_less() -> None:
    assert scaled(100, 1, 1.9) == 100
    assert scaled(100, 2, 1.9) == pytest.approx(190)
    assert scaled(100, 4, 1.9) == pytest.approx(361)
    assert [needed(demand, 100, 1.9) for demand in (50, 51, 96)] == [1, 2, 3]
