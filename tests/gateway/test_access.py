"""A line of the access log is JSON whatever it says; and lines are written once, in order, or counted as lost."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.processes import ROOT
from gateway import access
from gateway.access import AccessLog, Mask, line, secret_names, suspicion
from gateway.impressions import Impressions
from gateway.secret_fields import masked
from gateway.secret_patterns import KINDS, PREFIXES, Patterns
from gateway.settings import Shadow


@given(
    at=st.floats(0, 4e9),
    request_id=st.binary(max_size=12),
    method=st.text(max_size=6),
    target=st.binary(max_size=20),
    status=st.one_of(st.integers(0, 999), st.integers(-1, 2**31)),
    size=st.integers(0, 2**60),
    seconds=st.floats(0, 1e5),
    shadow=st.booleans(),
)
def test_every_line_is_json_and_says_what_it_was_given(
    at: float, request_id: bytes, method: str, target: bytes, status: int, size: int, seconds: float, shadow: bool
) -> None:
    written = line(at, request_id, "::1", method, target, status, size, seconds, "reviews", "candidate", "psp-a", "split", shadow)
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
        "served_by": "candidate",
        "upstream": "psp-a",
        "reason": "split",
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
    pipe, reader = a_pipe(tmp_path)
    log = AccessLog(str(pipe))
    wide = b"y" * 8191 + b"\n"
    number = 6 * access.MAX_BYTES // len(wide)
    before = resident()
    try:
        for at in range(number):
            log.write(b"%d" % at + wide)  # the pipe takes 64 KiB, then the thread waits
            if at % 500 == 0:
                time.sleep(0.05)  # and has time to take what waits
        # What the thread has in hand is part of the bound: 16 MiB, and what it makes of them to write them.
        assert resident() - before < 1.5 * access.MAX_BYTES
        kept = number - log.dropped
        assert 0 < kept * len(wide) < access.MAX_BYTES + 2**17
    finally:
        os.close(reader)  # a pipe without a reader: the thread fails, and ends with the rest counted
    log.close()
    assert log.dropped >= number - 2**16 // len(wide), "all but what the pipe itself holds"


def a_pipe(folder: Path) -> tuple[Path, int]:
    """A named pipe, and a reader's end that has not read anything."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    return pipe, os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits until it is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_a_pipe_that_is_full_can_be_left_for_another_target(tmp_path: Path) -> None:
    pipe, reader = a_pipe(tmp_path)
    log = AccessLog(str(pipe))
    line = b"y" * 99 + b"\n"
    for _ in range(2000):
        log.write(line)
    until(lambda: log._in_hand > 0)
    time.sleep(0.3)
    log.reopen(str(tmp_path / "file"))
    log.close()
    piped = len(os.read(reader, 2**20))
    os.close(reader)
    filed = (tmp_path / "file").stat().st_size
    assert filed > 0
    assert piped + filed + log.dropped * len(line) == 2000 * len(line)
    assert log.dropped <= 41, "the piece that the pipe did not take, of at most 4096 bytes"


def test_what_still_waits_at_the_end_is_counted(tmp_path: Path) -> None:
    pipe, reader = a_pipe(tmp_path)
    log = AccessLog(str(pipe))
    for _ in range(1000):
        log.write(b"y" * 99 + b"\n")
    began = time.monotonic()
    log.close(0.5)
    assert time.monotonic() - began < 1.5
    piped = len(os.read(reader, 2**20))
    os.close(reader)
    assert piped == (1000 - log.dropped) * 100


@pytest.mark.parametrize("obstacle", ["folder missing", "a folder itself", "pipe without a reader"])
def test_a_target_that_cannot_be_opened_is_tried_again(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "folder" / "access.log"
    if obstacle == "a folder itself":
        path.mkdir(parents=True)
    elif obstacle == "pipe without a reader":
        path.parent.mkdir()
        os.mkfifo(path)
    began = time.monotonic()
    log = AccessLog(str(path))
    assert time.monotonic() - began < 0.5, "whoever makes one does not wait for it"
    log.write(b"lost\n")
    until(lambda: log.dropped == 1)
    reader = -1
    if obstacle == "pipe without a reader":
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    elif obstacle == "a folder itself":
        path.rmdir()
    else:
        path.parent.mkdir()
    time.sleep(access.LOOK_SECONDS + 0.5)
    log.write(b"kept\n")
    log.close()
    assert (os.read(reader, 100) if reader >= 0 else path.read_bytes()) == b"kept\n"
    assert log.dropped == 1
    if reader >= 0:
        os.close(reader)


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_file_that_was_renamed_is_made_anew_without_being_told(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    until(path.exists)
    at = 0
    while len(numbers(path)) < 5 or not old.exists():
        assert at < 500
        log.write(b"%d\n" % at)
        at += 1
        time.sleep(0.01)
        if at == 30:
            path.rename(old)
    log.close()
    assert numbers(old) + numbers(path) == list(range(at)), "no line lost, none twice"
    assert log.dropped == 0
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("then", ["nothing", "another file"])
def test_lines_in_a_file_that_was_deleted_are_counted(tmp_path: Path, then: str) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    until(path.exists)
    path.unlink()
    if then == "another file":
        path.touch(0o600)
    at = 0
    while len(numbers(path)) < 5:
        assert at < 500
        log.write(b"%d\n" % at)
        at += 1
        time.sleep(0.01)
    log.close()
    kept = numbers(path)
    assert kept == list(range(at - len(kept), at))
    assert log.dropped == at - len(kept) > 0


FULL = """
import os, resource, signal, sys, time
from gateway.access import AccessLog

path, limit = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
log = AccessLog(path)
def put(*numbers):
    for number in numbers:
        log.write(b"%08d\\n" % number)
    while log._lines or log._in_hand:
        time.sleep(0.01)
put(*range(10))
again = AccessLog(path)  # another worker's, that never tore a line itself
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log, torn = (again, log) if sys.argv[3] == "another" else (log, again)
put(10, 11)
log.close(), torn.close()
print(log.dropped + torn.dropped)
"""


@pytest.mark.parametrize("who", ["the same", "another"])
@pytest.mark.parametrize("room", [40, 45])
def test_a_full_disk_costs_the_lines_that_are_not_whole_and_glues_none(tmp_path: Path, room: int, who: str) -> None:
    """Full, as far as a process can tell, is a file that must not grow: in a process of its own, as the limit is the process's."""
    path = tmp_path / "access.log"
    command = [sys.executable, "-c", FULL, str(path), str(room), who]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    lines = path.read_text().splitlines()
    torn = [line for line in lines if len(line) != 8]
    assert [int(line) for line in lines if line not in torn] == [*range(room // 9), 10, 11]
    assert torn == ([f"{4:08}"[: room % 9]] if room % 9 else [])
    assert int(ended.stdout) == 10 - room // 9


def test_secrets_in_a_query_are_not_logged() -> None:
    log = Mask(["authorization", "$..password", "$.user.pin", *Shadow().redact])
    hidden = log.presentable(b"/a?page=2&Password=one&x=y&token=two&user.pin=3&pin=three&email=four&tokens=kept&sig=five")
    assert hidden == b"/a?page=2&Password=*&x=y&token=*&user.pin=3&pin=*&email=*&tokens=kept&sig=*"
    # A name is what it is once decoded; what is not a secret stays to the byte.
    assert log.presentable(b"/a?%74oken=one&a%2Bb=%20&pass%2577ord=two&a+b=c") == b"/a?%74oken=*&a%2Bb=%20&pass%2577ord=*&a+b=c"
    assert log.presentable(b"/token=x?") == b"/token=x?"
    assert log.presentable(b"/a") == b"/a"


def test_card_numbers_and_tokens_are_not_logged_wherever_they_stand() -> None:
    mask = Mask(Shadow().redact)
    for secret in (
        b"4111111111111111",
        b"4111-1111-1111-1111",
        b"4111+1111+1111+1111",
        b"4111%201111%201111%201111",
        b"%2534111111111111111",
        b"ghp_" + b"a1" * 15,
        b"ABCDefgHIJKlmnopqrs_ghp_" + b"a" * 30,
        b"sk_live_abcdefghijk",
        b"AKIAABCDEFGHIJKLMNOP",
        b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    ):
        for around in (b"/%b", b"/cards/%b/limits", b"/a?number=%b&b=c", b"/a-very-long-word-of-letters/%b"):
            shown = mask.presentable(around % secret)
            assert b"*" in shown
            assert not [part for part in (b"1111", b"a1a1", b"aaaa", b"efgh", b"EFGH", b"eyJ") if part in shown], shown
    for plain in (b"/a/550e8400-e29b-41d4-a716-44665544000f?at=1732912345678&x=%2F", b"/recommendations/12345?page=2", b"/", b"*"):
        assert mask.presentable(plain) is plain
    assert Mask([], []).presentable(b"/4111111111111111") == b"/4111111111111111"


PIECES = (
    *(
        "4111",
        "1111",
        "4222222222222",
        "378282246310005",
        "6011",
        "1732912345678",
        "5",
        "%34",
        "%2534",
        "&#52;",
        "\\u0034",
        "&nbsp;",
        "-",
        "+",
    ),
    *(" ", "%20", "%2D", "%C2%A0", "\xa0", "--", "/", "?", "&", "=", ";", ".", "_", "a", "%5C", "u0065", "%26", "%23101;", "%3B", "token"),
    *("token=", "%3Ftoken%3D", "Password=x", "to%6ben", "eyJ", "%65yJ", "e%79J", "Bearer", "basic", "Basic", "%2B", ":", "abcdefgh", "%"),
    *PREFIXES,
    *(prefix.replace("_", "%5F").replace("-", "%2d").replace(".", "%2E") for prefix in PREFIXES),
    *(
        "A1B2C3D4E5F6A7B8",
        "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6",
        "abcdefghijk.abcdefghijklmnopq.abcdefghijklmnopqr",
        "-----BEGIN%20PRIVATE%20KEY-----",
    ),
    "550e8400-e29b-41d4-a716-44665544000f",
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text("0123456789- +%aeE", max_size=8), max_size=12))
def test_what_is_not_searched_holds_nothing_that_the_search_would_find(pieces: list[str]) -> None:
    names = secret_names(Shadow().redact)
    target = "/" + "".join(pieces)
    found = Patterns(KINDS, names).replace(masked(target, names), lambda *_: "*")
    assert Mask(Shadow().redact).presentable(target.encode("latin-1")) == found.encode("latin-1")


_HARMLESS = (
    "",
    "?",
    "?sort=new",
    "?page=2",
    "?a=1&b=2",
    "?4",
    "?x=411",
    "?at=1732912345678",
    "?token=x",
    "?a%2Bb=c",
    "?a=b?token=x",
    "?q=eyJ",
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/a", "/a/41111111111", "/4111111111111111", "/a-b", "/token=x", "/eyJ", "/a&token=x"]),
            st.sampled_from(_HARMLESS),
        )
    )
)
def test_what_was_found_of_a_query_before_holds_for_it_behind_any_path(targets: list[tuple[str, str]]) -> None:
    mask = Mask(Shadow().redact)
    for path, query in targets:
        target = f"{path}{query}".encode()
        assert mask.presentable(target) == Mask(Shadow().redact).presentable(target)


def test_every_token_is_found_in_a_target() -> None:
    for prefix in PREFIXES:
        body = {"SG.": "a1B2" * 5 + "." + "c3D4" * 6, "AKIA": "A1B2" * 4, "ASIA": "A1B2" * 4}.get(prefix, "a1b2" * 10)
        assert Mask([]).presentable(f"/a/{prefix}{body}?b".encode()) == b"/a/*?b"


def test_two_writers_to_one_pipe_do_not_tear_each_others_lines() -> None:
    reading, writing = os.pipe()
    logs = [AccessLog(f"/proc/self/fd/{writing}") for _ in range(2)]
    lines = {name: b'{"%b":"' % name.encode() + b"x" * 300 + b'"}\n' for name in "ab"}
    expected = 0

    for _ in range(2000):
        for log, each in zip(logs, lines.values(), strict=True):
            log.write(each)
            expected += len(each)
    data = b""
    while len(data) < expected:
        data += os.read(reading, 65536)
    for log in logs:
        log.close()
    os.close(writing)
    os.close(reading)
    assert set(data.splitlines(keepends=True)) == set(lines.values())
    assert data.count(b"\n") == 4000


def test_what_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = str(tmp_path / "nowhere" / "lines")
    for log in (AccessLog(nowhere), Impressions(nowhere, "banyan", "default").log):
        log.write(b"x\n")
        log.close()
        assert log.dropped == 1
    # Each says so on its own thread, and a busy machine lets either be the first.
    assert sorted(record.getMessage().partition(" cannot be opened")[0] for record in caplog.records) == [
        f"the access log {nowhere}",
        f"the impressions' file {nowhere}",
    ]


QUERY = st.lists(st.sampled_from([b"?", b"&", b"&", b"=", b"=", b"token", b"TOKEN", b"a", b"%", b"+", b"/", b"x" * 60]), max_size=10).map(
    b"".join
)


@given(QUERY)
def test_a_short_query_is_suspected_where_a_long_one_is(query: bytes) -> None:
    for names in (["$..pin", "$..token"], ['$..["a=a"]']):
        mask = Mask(names)
        assert mask._suspicious(query) == (suspicion(secret_names(names)).search(query) is not None)
