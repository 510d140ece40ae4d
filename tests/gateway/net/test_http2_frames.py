"""Frames, cut as they come; and how long a client is put up with."""

from __future__ import annotations

import pytest

from gateway.net.http2_frames import MAX_FRAME, PREFACE, FrameError, Frames, Patience, Resets
from tests.support.http2 import frame

SENT = [PREFACE, frame(4, 0, 0), frame(0, 1, 1, b"x" * MAX_FRAME), frame(6, 0, 0, b"12345678"), frame(99, 255, 2**31 - 1, b"y")]


def taken(frames: Frames) -> list[bytes]:
    found = []
    while frame := frames.take():
        found.append(frame)
    return found


@pytest.mark.parametrize("step", [1, 2, 9, 10, 1000, 10**6])
def test_however_they_come(step: int) -> None:
    data = b"".join(SENT)
    frames, found = Frames(), []
    for at in range(0, len(data), step):
        frames.feed(data[at : at + step])
        found += taken(frames)
    assert found == SENT
    assert frames.partial == 0


def test_what_has_begun() -> None:
    frames = Frames()
    assert frames.partial == 0
    frames.feed(PREFACE[:5])
    assert (frames.take(), frames.partial) == (b"", 1)
    frames.feed(PREFACE[5:] + frame(0, 0, 1, b"abc")[:3])
    assert (frames.take(), frames.take(), frames.partial) == (PREFACE, b"", 1)  # whose beginning it is cannot be seen yet
    frames.feed(frame(0, 0, 1, b"abc")[3:5])
    assert (frames.take(), frames.partial) == (b"", 2)
    frames.feed(frame(0, 0, 1, b"abc")[5:] + frame(1, 0, 1, b"abc")[:-1])
    assert (taken(frames), frames.partial) == ([frame(0, 0, 1, b"abc")], 1)


@pytest.mark.parametrize("wrong", [b"G", b"PRI * HTTP/1", PREFACE[:-1] + b"x", b"\x16\x03\x01"])
def test_another_preface_is_refused_at_its_first_wrong_byte(wrong: bytes) -> None:
    frames = Frames()
    frames.feed(wrong)
    with pytest.raises(FrameError) as refused:
        frames.take()
    assert refused.value.code == 1


def test_a_long_frame_is_refused_by_its_header() -> None:
    frames = Frames()
    frames.feed(PREFACE + (MAX_FRAME + 1).to_bytes(3) + bytes(6))
    assert frames.take() == PREFACE
    with pytest.raises(FrameError) as refused:
        frames.take()
    assert refused.value.code == 6


def test_patience_fills_again_and_no_further() -> None:
    patience = Patience(0.0)
    assert all(patience.take(0.0) for _ in range(int(Patience.DROPS)))
    assert not patience.take(0.0)
    patience = Patience(0.0)
    for second in range(1, 1000):  # at the rate that it fills by
        assert all(patience.take(float(second)) for _ in range(int(Patience.A_SECOND)))
    assert all(patience.take(1000.0) for _ in range(int(Patience.A_SECOND)))
    patience = Patience(0.0)
    patience.give(10**9)
    assert all(patience.take(1.0) for _ in range(int(Patience.DROPS)))
    assert not patience.take(1.0), "work in the past is no credit for ever"


def test_resets_are_counted_within_a_while() -> None:
    resets = Resets(0.0)
    assert all(resets.add(1.0) for _ in range(Resets.MOST))
    assert not resets.add(1.0)
    assert resets.add(20.0)
