"""All looks are taken at once, each in its time, and none shows a secret."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.config import parse
from gateway.doctor.findings import Finding, Level, status
from gateway.doctor.looking import all_of, hidden, secrets_of

SECRET = "an-entirely-secret-token"


def fine(about: str) -> Sequence[Finding]:
    return [Finding(about, "fine", "as it should be")]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_look_that_hangs_is_told_and_the_others_stand(never: threading.Event) -> None:
    def hangs() -> Sequence[Finding]:
        never.wait()
        return fine("hangs")

    found = all_of({"first": lambda: fine("first"), "hangs": hangs, "last": lambda: fine("last")}, 0.2)
    assert [(each.about, each.level) for each in found] == [("first", "fine"), ("hangs", "wrong"), ("last", "fine")]
    assert "0.2 s" in found[1].said


def test_looks_wait_beside_each_other_and_not_one_after_the_other() -> None:
    together = threading.Barrier(5)

    def look() -> Sequence[Finding]:
        together.wait(10)  # nobody comes past it alone
        return fine("one of five")

    found = all_of({str(number): look for number in range(5)}, 20)
    assert [each.level for each in found] == ["fine"] * 5


def test_a_look_that_fails_says_so_without_what_it_was_given() -> None:
    def fails() -> Sequence[Finding]:
        raise ValueError(f"could not parse {SECRET}")

    (found,) = all_of({"fails": fails}, 5)
    assert (found.level, "ValueError" in found.said, SECRET in found.said) == ("wrong", True, False)


def test_a_secret_that_a_look_would_show_is_hidden() -> None:
    def tells() -> Sequence[Finding]:
        return [Finding("tells", "wrong", f"refused {SECRET}", f"try {SECRET} again")]

    (found,) = all_of({"tells": tells}, 5, [SECRET])
    assert SECRET not in found.said + found.todo
    assert found.said.startswith("refused ")


def test_secrets_are_those_of_the_file_and_the_passwords_of_its_addresses() -> None:
    config = parse(
        Path("banyan.toml"),
        f'[upstreams]\nlegacy = "http://127.0.0.1:1"\n[flags]\nsource = "unleash"\nurl = "http://127.0.0.1:2/api"\ntoken = "{SECRET}"\n'
        '[shadow]\ndatabase = "postgres://banyan:pass%2Fword@127.0.0.1/banyan"\n',
    )
    secrets = secrets_of(config)
    assert secrets == [SECRET, "pass%2Fword", "pass/word"]
    assert hidden("with pass/word and pass%2Fword", secrets).count("word") == 0


@pytest.mark.parametrize(
    ("levels", "readable", "expected"), [(["fine", "note", "warning"], True, 0), (["fine", "wrong"], True, 1), (["wrong"], False, 2)]
)
def test_the_exit_status(levels: list[Level], readable: bool, expected: int) -> None:
    assert status([Finding("x", level, "") for level in levels], readable) == expected


def test_it_returns_when_the_time_is_over_and_not_before_all_are_done(never: threading.Event) -> None:
    slow_done = threading.Event()

    def slow() -> Sequence[Finding]:
        time.sleep(0.1)
        slow_done.set()
        return fine("slow")

    found = all_of({"slow": slow}, 30)
    assert (slow_done.is_set(), found[0].level) == (True, "fine")
