"""The chunked transfer coding (RFC 9112, section 7.1), read strictly and written plainly.

Reading yields only data: extensions and trailers are dropped (edge.md 10, 11), within bounds. Nothing is passed on as it came, so
whatever trick a sender plays with sizes or line ends stops here.
"""

from __future__ import annotations

import re

MAX_EXTENSIONS = 4 * 1024
"""Bytes over all chunks of one body."""
MAX_TRAILERS = 8 * 1024

LAST = b"0\r\n\r\n"

# 1 to 15 hex digits (no sign, no blanks, no 0x), then extensions as visible text. 15 digits cannot overflow anything here.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,15}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_TRAILER_BEGUN = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[\t\x20-\x7e\x80-\xff]*+\r?)?|\r)?")


class ChunkError(Exception):
    """The body is not in the chunked coding."""


class TrailerError(ChunkError):
    """The trailers are over their limit."""


class ChunkedReader:
    """Feed it bytes; it gives back the data in them. Once `done`, `surplus` holds what came after the body."""

    __slots__ = ("_buffer", "_extensions", "_left", "_trailers", "done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""
        self._buffer = b""
        self._left = -2
        """Bytes still to come of this chunk and its CRLF; -2 between chunks, -1 in the trailers."""
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        """The body bytes that `data` holds.

        Raises:
            ChunkError: it is not chunked as RFC 9112 says.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        out: list[bytes] = []
        at = 0
        size = len(data)
        while at < size:
            if self._left > 2:
                take = min(self._left - 2, size - at)
                out.append(data[at : at + take])
                at += take
                self._left -= take
            elif self._left >= 0:
                end = data[at : at + self._left]
                if end != b"\r\n"[2 - self._left :][: len(end)]:
                    raise ChunkError("no CRLF after a chunk")
                at += len(end)
                self._left -= len(end)
                if self._left == 0:
                    self._left = -2
            else:
                limit = (MAX_TRAILERS if self._left == -1 else MAX_EXTENSIONS) + 64
                stop = data.find(b"\r\n", at, at + limit)
                if stop < 0:
                    if size - at >= limit:
                        raise TrailerError("trailers too long") if self._left == -1 else ChunkError("a chunk's size line is too long")
                    self._buffer = data[at:]
                    # What is here must at least look like the beginning of such a line: a sender of garbage is not waited for.
                    if self._left == -2 and not _SIZE_BEGUN.fullmatch(self._buffer):
                        raise ChunkError("a chunk's size is not a hexadecimal number")
                    if self._left == -1 and not _TRAILER_BEGUN.fullmatch(self._buffer):
                        raise ChunkError("a trailer is not `Name: value`")
                    break
                line = data[at:stop]
                at = stop + 2
                if self._left == -2:
                    self._begin(line)
                elif not line:
                    self.done = True
                    self.surplus = data[at:]
                    break
                else:
                    self._trailers += len(line) + 2
                    if self._trailers > MAX_TRAILERS:
                        raise TrailerError("trailers too long")
                    if not _TRAILER.fullmatch(line):
                        raise ChunkError("a trailer is not `Name: value`")
        return out[0] if len(out) == 1 else b"".join(out)

    def _begin(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise ChunkError("a chunk's size is not a hexadecimal number")
        self._extensions += len(found[2])
        if self._extensions > MAX_EXTENSIONS:
            raise ChunkError("chunk extensions are too long")
        size = int(found[1], 16)
        self._left = size + 2 if size else -1


def chunk(data: bytes) -> bytes:
    """`data`, not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def unframed(body: bytes) -> bytes:
    """The data in a whole body that this module framed."""
    return ChunkedReader().feed(body)
