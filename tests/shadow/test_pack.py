"""What a message's headers say, whoever has written them."""

from __future__ import annotations

import json

import pytest

from shadow.pack import COUNTS_HEADER, ID_HEADER, MOST_SAID, counts, name_of


def test_what_a_shipper_says_is_counted() -> None:
    assert counts({COUNTS_HEADER: json.dumps({"a": [3, 1], "b": [0, 0]})}) == {("a", False): 3, ("a", True): 1}
    assert name_of({ID_HEADER: "abc-7"}) == ("abc", 7)


@pytest.mark.parametrize(
    "said",
    [
        '{"a":[Infinity,0]}',
        '{"a":[1e30,0]}',
        '{"a":[-1,0]}',
        json.dumps({"a": [MOST_SAID + 1, 0]}),
        "[" * 100_000,
        '{"a":1}',
        '{"a":["x",0]}',
        "[]",
        "",
    ],
)
def test_what_nobody_could_mean_is_nothing(said: str) -> None:
    assert not counts({COUNTS_HEADER: said})


def test_a_route_is_something_that_a_database_takes() -> None:
    (((route, _), number),) = counts({COUNTS_HEADER: json.dumps({"a\0" + "b" * 500: [1, 0]})}).items()
    assert (len(route), "\0" in route, number) == (100, False, 1)


@pytest.mark.parametrize("said", ["", "-7", "abc", "abc-", "abc-x", "a" * 65 + "-1", "a\0b-1", "abc-" + "1" * 19])
def test_a_name_is_one_that_a_database_takes(said: str) -> None:
    assert name_of({ID_HEADER: said}) is None
