"""What is remembered of callers: bounded, by age, and for its time."""

from __future__ import annotations

from gateway.identity.caller import Caller
from gateway.identity.remembered import Remembered

A, B, C = Caller("a"), Caller("b"), Caller("c")


def test_each_for_its_time_and_its_grace() -> None:
    known = Remembered(10)
    known.keep(b"a", A, 5.0, grace=10.0)
    assert known.get(b"a", 4.9) is A
    assert known.get(b"a", 5.0) is None
    assert known.lately(b"a", 14.9) == (A, 15.0)
    assert known.lately(b"a", 15.0) is None
    assert known.get(b"b", 0.0) is known.lately(b"b", 0.0) is None


def test_the_oldest_goes_first_and_who_is_kept_anew_is_young() -> None:
    known = Remembered(2)
    known.keep(b"a", A, 5.0)
    known.keep(b"b", B, 5.0)
    known.keep(b"a", A, 6.0)
    known.keep(b"c", C, 5.0)
    assert [known.get(key, 0.0) for key in (b"a", b"b", b"c")] == [A, None, C]
    assert len(known) == 2


def test_who_is_dropped_is_gone() -> None:
    known = Remembered(2)
    known.keep(b"a", A, 5.0, grace=5.0)
    known.keep(b"b", B, 5.0)
    known.drop(b"a")
    known.drop(b"never")
    assert known.get(b"a", 0.0) is known.lately(b"a", 0.0) is None
    known.clear()
    assert len(known) == 0
