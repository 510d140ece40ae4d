"""The reader of PromQL understands what it is given, and refuses the rest: else the tests of the dashboard could not fail."""

import pytest

from tests.support.promql import PromqlError, read


def test_what_an_expression_asks_for() -> None:
    found = read('histogram_quantile(0.95, sum by (route, le) (rate(t_bucket{side="a", route=~"$route"}[5m]))) > 1.5 * max by (route) (b)')
    assert found.labels == {"route"}
    first, second = found.uses
    assert (first.metric, first.function, first.grouped) == ("t_bucket", "rate", {"route", "le"})
    assert first.matchers == {"side": [("=", "a")], "route": [("=~", "$route")]}
    assert first.labels == {"side", "route", "le"}
    assert (second.metric, second.function, second.labels) == ("b", "", {"route"})
    assert read("time() - a").labels is None
    assert read("sum(a) or vector(0)").labels == frozenset()
    assert read("sum by (r) (a unless a offset 15m) > 0").labels == {"r"}
    assert read("min by (i, w) (a) == 0 or min by (i) (b) == 0").labels == {"i"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(a",
        "sum(a))",
        "sum by route (a)",
        "rate(a)",
        "increase(sum(a[5m]))",
        "rate(a[5])",
        "a{b=c}",
        'a{b>"c"}',
        'a{b="c" d="e"}',
        "histogram_quantile(0.9, sum by (route) (rate(a_bucket[5m])))",
        "sum by (route) (a) / sum by (side) (a)",
        "sum by (route) (sum by (side) (a))",
        "sum by (route) (a) and sum by (side) (a)",
        "a offset x",
        "topk(3, a)",
        "a and b or c",
        "a > ",
        "a 5",
        "a @ 5",
    ],
)
def test_what_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(PromqlError):
        read(text)
