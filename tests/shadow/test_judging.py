"""A message is something to count whatever it holds, and one that takes long keeps no other from being counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count

import msgspec
import pytest
import zstandard
from nats.aio.msg import Msg

from shadow import counters
from shadow.compare import Kind
from shadow.judge import OVER_BUDGET, Judgement
from shadow.judging import Figures, Held, Judging, LeavingError
from shadow.normalise import MAX_DECODED, Form
from shadow.pack import Draft, Pair, PairSide, encoded, headers, pack
from shadow.sealing import PairJudge

_numbers = count(1)


class Told(PairJudge):
    """Does in the child what the text says, where it says something. In the parent that is left to the child."""

    def judge(self, pair: Pair, limit: int = MAX_DECODED) -> Judgement | None:
        told = pair.other.text
        if told in ("spin", "break", "slow") and limit < MAX_DECODED:
            return None
        while told == "spin":
            pass
        if told in ("break", "fault"):
            raise RuntimeError("a fault of our own")
        return super().judge(pair, limit)


def side(text: str) -> PairSide:
    return PairSide("new", 200, (), 0.1, "", "", Form.TEXT, text, None, b"", "", len(text), text, "", len(text), text)


def pair(text: str) -> Pair:
    return Pair("r", "q", time.time(), "GET", "/", "", "legacy", "pair", side("same"), side(text), "{}")


def message(*texts: str, delivered: int = 1, age: float = 0.0, data: bytes | None = None) -> Msg:
    number = next(_numbers)
    contents = Draft("p", number, [encoded(pair(text)) for text in texts], [], [])
    at = int((time.time() - age) * 1e9)
    return Msg(
        None,  # type: ignore[arg-type]  # nothing is answered here
        "s.packs",
        f"$JS.ACK.s.shadow.{delivered}.{number}.{number}.{at}.0",
        pack(contents) if data is None else data,
        headers(contents, [("r", False)] * len(texts)),
    )


@pytest.fixture
def judging() -> Iterator[Judging]:
    made = Judging(Told({}), "s", Figures(), lambda: None, max_age=60.0, processes=2)
    made.start()
    yield made
    made.close()


def names(held: Held) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, _, name), number in held.counted.batch.tallies.items():
        found[name] += 0 if name.startswith(counters.COMBINATION) else number
    return +found


def until_whole(held: Held) -> None:
    deadline = time.monotonic() + 60
    while not held.whole:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_quick_is_whole_at_once_and_what_spins_is_so_a_little_later(judging: Judging) -> None:
    hostile = judging.judge(message("same", "spin", "other"))
    for child in judging._pool.children:
        child._seconds = 1000.0
    others = [judging.judge(message("same", "other", "slow")) for _ in range(10)]
    for each in others:
        until_whole(each)
        assert names(each) == {counters.MATCHED: 1, counters.MISMATCHED: 2}
    assert not hostile.whole, "its budget is not used up: nobody waited for it"
    for child in judging._pool.children:
        child._seconds = 0.1
    until_whole(hostile)
    assert names(hostile) == {counters.MATCHED: 1, counters.MISMATCHED: 2}
    kinds = {(kind, path): seen.count for (_, kind, path), seen in hostile.counted.batch.signatures.items()}
    assert kinds[Kind.INCONCLUSIVE, OVER_BUDGET] == 1
    assert hostile.message.data == b"", "its bytes are in memory no more"


class Behind(PairJudge):
    """Of a route whose candidate may be a little behind, and is."""

    def judge(self, pair: Pair, limit: int = MAX_DECODED) -> Judgement | None:
        return Judgement(pair.route, pair.at, False, "skipped", counters.STALE)


def test_what_is_stale_is_told_apart_from_what_was_compared() -> None:
    made = Judging(Behind({}), "s", Figures(), lambda: None, max_age=60.0)
    made.start()
    try:
        held = made.judge(message("one", "other"))
        assert names(held) == {counters.SKIPPED + counters.STALE: 2}
        assert made._figures.exchanges == {"stale": 2}
    finally:
        made.close()


def test_each_is_counted_once_however_many_messages_there_are(judging: Judging) -> None:
    helds = [judging.judge(message(*["slow", "same", "fault", "other"] * 5, *["break"] * (number == 7))) for number in range(20)]
    for number, each in enumerate(helds):
        until_whole(each)
        # What a process ended at is a mismatch without a verdict on its fields.
        assert names(each) == {counters.MATCHED: 5, counters.MISMATCHED: 10 + (number == 7), counters.FAILED: 5}
    assert judging._figures.exchanges == {"compared": 301, "comparison_failed": 100}


def test_what_came_often_is_compared_in_processes_that_may_be_ended(judging: Judging) -> None:
    held = judging.judge(message("same", "other", delivered=40))
    until_whole(held)
    assert names(held) == {counters.MATCHED: 1, counters.MISMATCHED: 1}
    assert not judging._of
    child = judging._opener._child._process
    assert child is not None
    until_whole(judging.judge(message("same", delivered=3)))
    assert judging._opener._child._process is child, "starting one for each would take half a second each"
    until_whole(judging.judge(message("same")))
    assert judging._opener._child._process is None


@pytest.mark.parametrize("delivered", [1, 3])
def test_poison_is_what_ends_the_process_that_opens_it(judging: Judging, delivered: int) -> None:
    """Small on its way, and more than a process may take once it is read: forty million rows."""
    row = msgspec.msgpack.encode(["", 0, "", 0])
    rows = (len(row) * 40_000_000, 40_000_000)
    plain = msgspec.msgpack.encode(["p", 1, [], []]).replace(b"\x94", b"\x95", 1) + b"\xdd" + rows[1].to_bytes(4, "big")
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    data = packer.compress(plain) + b"".join(packer.compress(row * 1_000_000) for _ in range(40)) + packer.flush()
    assert len(data) < 1_000_000
    held = judging.judge(message("same", "other", data=data, delivered=delivered))
    assert held.whole
    assert names(held) == {counters.POISON: 2}
    after = judging.judge(message("other", delivered=3))
    until_whole(after)
    assert names(after) == {counters.MISMATCHED: 1}


@pytest.mark.parametrize("delivered", [1, 3])
def test_what_cannot_be_read_is_no_poison(judging: Judging, delivered: int) -> None:
    held = judging.judge(message("same", "other", data=b"garbage", delivered=delivered))
    assert names(held) == {counters.UNREADABLE: 2}


def test_what_is_too_old_is_not_compared(judging: Judging) -> None:
    held = judging.judge(message("same", "spin", age=61))
    assert held.whole
    assert names(held) == {counters.EXPIRED: 2}


def test_at_the_end_what_is_not_whole_never_will_be_and_nothing_more_is_taken(judging: Judging) -> None:
    held = judging.judge(message("same", "spin"))
    quick = judging.judge(message("same", "slow"))
    until_whole(quick)
    judging.finish(0.2)
    with pytest.raises(LeavingError):
        judging.judge(message("slow"))
    time.sleep(0.2)
    assert not held.whole
    deadline = time.monotonic() + 10
    while [thread for thread in threading.enumerate() if thread.name.startswith("comparison ")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
