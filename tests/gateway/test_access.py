"""A line of the access log is JSON whatever it says; and lines are written once, in order, or counted as lost."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import access
from gateway.access import AccessLog, Mask, line
from gateway.settings import Shadow


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


def test_secrets_in_a_query_are_not_logged() -> None:
    log = Mask(["authorization", "$..password", "$.user.pin", *Shadow().redact])
    hidden = log.presentable(b"/a?page=2&Password=one&x=y&token=two&user.pin=3&pin=three&email=four&tokens=kept&sig=five")
    assert hidden == b"/a?page=2&Password=*&x=y&token=*&user.pin=3&pin=*&email=*&tokens=kept&sig=*"
    # A name is what it is once decoded; what is not a secret stays to the byte.
    assert log.presentable(b"/a?%74oken=one&a%2Bb=%20&pass%2577ord=two&a+b=c") == b"/a?%74oken=*&a%2Bb=%20&pass%2577ord=*&a+b=c"
    assert log.presentable(b"/token=x?") == b"/token=x?"
    assert log.presentable(b"/a") == b"/a"


def test_two_writers_to_one_pipe_do_not_tear_each_others_lines() -> None:
    reading, writing = os.pipe()
    logs = [AccessLog(f"/proc/self/fd/{writing}") for _ in range(2)]
    lines = {name: b'{"%b":"' % name.encode() + b"x" * 300 + b'"}\n' for name in "ab"}
    expected = 0

    for _ in range(2000):
        for log, each in zip(logs, lines.values(), strict=True):
            log.write(each)
            expected += len(each)
    os.close(writing)
    data = b""
    while len(data) < expected:
        data += os.read(reading, 65536)
    for log in logs:
        log.close()
    os.close(reading)
    assert set(data.splitlines(keepends=True)) == set(lines.values())
    assert data.count(b"\n") == 4000
