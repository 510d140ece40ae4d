"""The stretch of time in an address, and the drawing of who served in it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest

from console import ranges
from console.ranges import Range
from console.sparkline import HEIGHT, WIDTH, sparkline

NOW = 1_800_000_000.0


def test_a_span_ends_now_and_an_end_of_its_own_does_not() -> None:
    assert ranges.of({}, NOW) == Range(NOW - 3600, NOW, "1h")
    assert ranges.of({"span": "24h"}, NOW) == Range(NOW - 86400, NOW, "24h")
    assert ranges.of({"span": "all"}, NOW).since == 0
    own = ranges.of({"since": str(NOW - 500), "until": str(NOW - 100)}, NOW)
    assert own == Range(NOW - 500, NOW - 100, "", live=False)
    assert own.ended == NOW - 100
    assert ranges.of({"since": str(NOW - 500)}, NOW) == Range(NOW - 500, NOW, "", live=True)
    assert ranges.of({"since": "2027-01-15T07:00", "until": "2027-01-15T07:30:00+00:00"}, NOW).until == 1_799_998_200.0


@pytest.mark.parametrize(
    "query",
    [{"span": "x"}, {"since": "nan"}, {"since": "-5"}, {"since": "inf"}, {"since": "yesterday"}, {"since": "1e300"}, {"span": "<script>"}],
)
def test_what_cannot_be_read_is_not_there(query: dict[str, str]) -> None:
    assert ranges.of(query, NOW) == Range(NOW - 3600, NOW, "1h")


@pytest.mark.parametrize(
    "query",
    [
        {"span": "6h"},
        {"since": "1799990000", "until": "1799995000"},
        {"since": "1799999000"},
        {"since": "1799999999", "until": "1799990000"},
    ],
)
def test_the_address_that_it_writes_says_the_same(query: dict[str, str]) -> None:
    found = ranges.of(query, NOW)
    assert found.until - found.since >= ranges.SHORTEST
    assert ranges.of({name: values[0] for name, values in parse_qs(found.query).items()}, NOW) == found


def test_a_drawing_stays_within_its_frame_and_shows_the_least_there_is() -> None:
    found = sparkline({0: (1, 0), 60: (500, 500), 120: (0, 1000)}, 0, 180, 60)
    assert found.most == 1000
    for path in (found.legacy, found.candidate):
        assert re.fullmatch(r"(M[\d.]+ [\d.]+V[\d.]+H[\d.]+V[\d.]+Z)+", path)
        across = [float(x) for x in re.findall(r"[MH]([\d.]+)", path)]
        down = [float(y) for y in re.findall(r"[V ]([\d.]+)", path)]
        assert 0 <= min(across) <= max(across) <= WIDTH
        assert 0 <= min(down) <= max(down) <= HEIGHT
    assert found.legacy.count("M") == 2
    assert found.candidate.count("M") == 2
    assert found.legacy.startswith(f"M0.0 {HEIGHT}.0V{HEIGHT - 1}.0"), "one of a thousand is a pixel high"
    assert sparkline({}, 0, 180, 60).most == 0
