"""The chunked coding, fed whole, byte by byte and with trailing data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.chunked import LAST, ChunkedReader, ChunkError, chunk


def read(raw: bytes, step: int) -> tuple[bytes, bool, bytes]:
    """(data, done, what was not consumed)."""
    reader = ChunkedReader()
    data = b""
    for at in range(0, len(raw), step):
        data += reader.feed(raw[at : at + step])
        if reader.done:
            return data, True, reader.surplus + raw[at + step :]
    return data, reader.done, b""


STEPS = [1, 2, 3, 7, 10_000]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0;x\r\nTrailer: gone\r\n\r\n", b"hello0123456789"),
        (b"00005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    ],
)
def test_good(raw: bytes, data: bytes, step: int) -> None:
    assert read(raw, step) == (data, True, b"")
    assert read(raw + b"GET / HTTP/1.1", step) == (data, True, b"GET / HTTP/1.1")
    assert read(raw[:-1], step)[1] is False


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "raw",
    [
        *(size + b"\r\nhello\r\n0\r\n\r\n" for size in (b"0x5", b"+5", b"-5", b"0_5", b" 5", b"5 ", b"", b"g", b"F" * 16)),
        b"5\nhello\n0\n\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 5 + b"0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX : a\r\n\r\n",
        b"0\r\n\n",
        b"0\r\n\r\r",
        b"0\r\nX: y\n\n",
        b"0\r\nX: y\ra",
        b"0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 400 + b"\r\n",
    ],
)
def test_bad(raw: bytes, step: int) -> None:
    with pytest.raises(ChunkError):
        read(raw, step)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.integers(1, 40), st.binary(max_size=10))
def test_what_we_write_we_read(parts: list[bytes], step: int, surplus: bytes) -> None:
    raw = b"".join(chunk(part) for part in parts) + LAST
    assert read(raw + surplus, step) == (b"".join(parts), True, surplus)
