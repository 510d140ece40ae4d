"""A stretch of time in spans: exactly covered, with few of them."""

from __future__ import annotations

import random

import pytest

from shadow.spans import WIDTHS, Part, parts


@pytest.mark.parametrize("widest", WIDTHS)
def test_every_second_is_in_one_span_of_an_allowed_width(widest: int) -> None:
    chance = random.Random(7)
    for _ in range(2000):
        since = 1_800_000_000 + chance.randrange(20_000)
        until = since + chance.choice([0, 1, 59, 60, 61, 599, 600, 3600, chance.randrange(100_000)])
        found = parts(since, until, widest)
        at = since
        for part in found:
            assert part.start == at
            assert part.end is not None
            assert part.end > part.start
            assert part.width <= widest
            assert part.start % part.width == 0
            assert part.end % part.width == 0
            at = part.end
        assert at == until


def test_a_day_takes_few_spans_and_what_comes_is_in_the_widest() -> None:
    found = parts(1_800_000_059 - 86400)
    assert found[-1] == Part(3600, 1_800_000_000 + 3600 - 86400, None)
    rows = sum((part.end - part.start) // part.width for part in found[:-1] if part.end is not None)
    assert rows <= 59 + 9 + 5 + 24
    assert parts(0) == [Part(3600, 0, None)]
    assert parts(7, 7) == []
