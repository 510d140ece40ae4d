"""A line of the access log is JSON whatever it says; and lines are written once, in order, or counted as lost."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import access
from gateway.access import AccessLog, line


@given(
    at=st.floats(0, 4e9),
    request_id=st.binary(max_size=12),
    method=st.text(max_size=6),
    target=st.binary(max_size=20),
    status=st.integers(0, 999),
    size=st.integers(0, 2**60),
    seconds=st.floats(0, 1e5),
    shadow=st.booleans(),
)
def test_every_line_is_json_and_says_what_it_was_given(
    at: float, request_id: bytes, method: str, target: bytes, status: int, size: int, seconds: float, shadow: bool
) -> None:
    written = line(at, request_id, "::1", method, target, status, size, seconds, "reviews", "legacy", "flag-off", shadow)
    assert written.endswith(b"}\n")
    assert written.count(b"\n") == 1
    read = json.loads(written)
    assert read.pop("time") == pytest.approx(at, abs=2e-6)
    assert read.pop("seconds") == pytest.approx(seconds, abs=2e-6)
    assert read == {
        "id": request_id.decode("latin-1"),
        "client": "::1",
        "method": method,
        "target": target.decode("latin-1"),
        "status": status,
        "bytes": size,
        "route": "reviews",
        "served_by": "legacy",
        "reason": "flag-off",
        "shadow": shadow,
    }


def test_lines_are_written_once_and_in_order(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    expected = b""
    for number in range(20_000):
        log.write(b"%d\n" % number)
        expected += b"%d\n" % number
    log.close()
    assert (tmp_path / "access.log").read_bytes() == expected
    assert log.dropped == 0


def test_a_target_that_cannot_be_written_costs_lines_and_they_are_counted() -> None:
    log = AccessLog("/dev/full")
    for _ in range(10):
        log.write(b"x\n")
    log.close()
    assert log.dropped == 10


def test_a_target_that_does_not_take_them_costs_lines_beyond_the_bound(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AccessLog(str(pipe))
        wide = b"y" * 100 + b"\n"
        for _ in range(3 * access.MAX_LINES):
            log.write(wide)  # the pipe takes 64 KiB, then the thread stands still
        assert log.dropped > 0
        assert len(log._lines) <= access.MAX_LINES
    finally:
        os.close(reader)  # a pipe without a reader: the thread fails, and ends with the rest counted
    log.close()
