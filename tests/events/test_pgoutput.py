"""pgoutput's messages, by the bytes of the protocol's description; tests/events/test_outbox.py reads what a real server sends."""

from __future__ import annotations

import struct

import pytest

from events.outbox.pgoutput import Begin, Commit, Insert, PgoutputError, Relation, read

BEGIN = b"B" + struct.pack("!QqI", 0x16B3748, 1, 777)
COMMIT = b"C" + struct.pack("!BQQq", 0, 0x16B3748, 0x16B3778, 1)
RELATION = (
    b"R" + struct.pack("!I", 16400) + b"public\0outbox_event\0d" + struct.pack("!H", 2)
    + b"\x01number\0" + struct.pack("!Ii", 20, -1) + b"\x00data\0" + struct.pack("!Ii", 25, -1)
)  # fmt: skip
INSERT = b"I" + struct.pack("!I", 16400) + b"N" + struct.pack("!H", 3) + b"t" + struct.pack("!I", 2) + b"17" + b"n" + b"t\0\0\0\0"


def test_what_it_says() -> None:
    assert read(BEGIN) == Begin(777)
    assert read(COMMIT) == Commit(0x16B3778)
    assert read(RELATION) == Relation(16400, "outbox_event", ("number", "data"))
    assert read(INSERT) == Insert(16400, ("17", None, ""))
    assert read(b"Ysomething") is None


@pytest.mark.parametrize("whole", [BEGIN, COMMIT, RELATION, INSERT])
def test_what_is_cut_short_is_refused(whole: bytes) -> None:
    for end in range(len(whole)):
        with pytest.raises(PgoutputError):
            read(whole[:end])


@pytest.mark.parametrize("data", [b"U\0", b"D\0", INSERT.replace(b"N", b"K", 1), INSERT.replace(b"n", b"u", 1)])
def test_what_is_not_known_is_refused(data: bytes) -> None:
    with pytest.raises(PgoutputError):
        read(data)
