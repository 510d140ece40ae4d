"""A worker tells of every request, or of a fair part, and always of how many there were."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from gateway.control import Report
from gateway.sampling import MOST, Sample, caches
from gateway.telemetry import Stats

Told = tuple[list[tuple[str, bytes, str, str, int, float, int]], int]


def finished(sample: Sample, targets: list[bytes]) -> Told:
    for target in targets:
        if sample.due():
            sample.take("GET", target, "reviews", "legacy", 200, 0.25, b"")
    return sample.hand_over()


def test_few_are_told_all_and_without_their_query() -> None:
    sample = Sample()
    rows, seen = finished(sample, [b"/a?token=secret", b"/b", b"/c?"])
    assert rows == [("GET", path, "reviews", "legacy", 200, 0.25, 0) for path in (b"/a", b"/b", b"/c")]
    assert seen == 3
    assert sample.hand_over() == ([], 0)


def test_of_many_a_fair_part_is_told_and_their_number_is_exact() -> None:
    sample = Sample()
    part: Counter[bytes] = Counter()
    told = 0
    for _ in range(10):
        rows, seen = finished(sample, [b"/often", b"/often", b"/often", b"/rare"] * 10_000)
        assert seen == 40_000
        assert MOST // 8 <= len(rows) < MOST
        part.update(row[1] for row in rows)
        told += len(rows)
    # Four standard deviations: by chance outside in one of 15,000 runs.
    assert part[b"/often"] / told == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / told) ** 0.5)


def test_a_regular_rhythm_deceives_nobody() -> None:
    sample = Sample()
    finished(sample, [b"/x"] * 40_000)
    part: Counter[bytes] = Counter()
    for _ in range(20):
        rows, _ = finished(sample, [b"/x"] * 15 + [b"/every-sixteenth"] + ([b"/x"] * 15 + [b"/every-sixteenth"]) * 999)
        part.update(row[1] for row in rows)
    share = part[b"/every-sixteenth"] / part.total()
    assert share == pytest.approx(1 / 16, abs=5 * (1 / 16 / part.total()) ** 0.5)


def test_after_a_rush_all_are_told_again() -> None:
    sample = Sample()
    finished(sample, [b"/x"] * 100_000)
    for _ in range(12):
        finished(sample, [b"/x"] * 100)
    rows, seen = finished(sample, [b"/x"] * 100)
    assert len(rows) == seen == 100


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"", 0),
        (b"\r\nContent-Type: text/html\r\nETag: x", 0),
        (b"\r\nCache-Control: public, max-age=60", 1),
        (b"\r\ncache-control: s-maxage=60", 1),
        (b"\r\nCache-Control: max-age=0", 2),
        (b"\r\nCache-Control: private, max-age=60", 2),
        (b"\r\nCache-Control: no-store", 2),
        (b"\r\nCache-Control: public\r\nSet-Cookie: a=b", 2),
        (b"\r\nX-Reset-At: 5\r\nX-Cache-Status: hit", 0),
    ],
)
def test_what_an_answer_says_of_caches(fields: bytes, expected: int) -> None:
    assert caches(fields) == expected


def test_a_report_goes_whole_and_prints_no_path() -> None:
    sample = Sample()
    rows, seen = finished(sample, [b"/reset/\xff\xfe-secret"] * 3)
    report = Report(Stats(seen=rows, seen_of=seen))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report)
    assert (again.stats.seen, again.stats.seen_of) == (rows, 3)
    assert "secret" not in repr(again)
