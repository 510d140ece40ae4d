"""The lines of a file of any size, gzip'ed or not, in bounded memory: read in blocks, unpacked as it is read.

Nothing in a file ends the reading of what stands before it: where a gzip'ed file is cut off or damaged, the lines up to there are read, and
`Lines.trouble` says what happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from recorded.compressed import MAGIC, Gunzip

LONGEST: Final = 65536
"""Bytes of a line. Servers take request heads of 8 to 32 KiB, and escape what is odd in them: four bytes for one."""
_BLOCK: Final = 262144
_PACKED: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}


class Lines:
    """The lines of `stream`, without their ends. Of what is much longer than LONGEST comes a part that still is: to be told apart."""

    def __init__(self, stream: BinaryIO) -> None:
        self.trouble = ""
        """Why there are no more, where that is not the end of the file. To be looked at once there are none."""
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks():
            yield from split(chunk)

    def chunks(self) -> Iterator[bytes]:
        """The same, many at a time: whole lines with their ends, but for the last of all perhaps. A chunk has 320 KiB at most."""
        kept: list[bytes] = []
        """Of a line that has not ended yet."""
        held = 0
        try:
            for data in self._data():
                end = data.rfind(b"\n") + 1
                if not end:
                    if held <= LONGEST:
                        kept.append(data[: LONGEST + 1])
                        held += len(data)
                    continue
                kept.append(data[:end])
                yield b"".join(kept)
                kept, held = [data[end:]], len(data) - end
        except OSError as error:
            self.trouble = f"it can't be read any further: {error.strerror or error}"
        if held:
            yield b"".join(kept)

    def _data(self) -> Iterator[bytes]:
        data = self._stream.read(_BLOCK)
        while 0 < len(data) < 8 and (more := self._stream.read(_BLOCK)):  # a pipe gives what there is
            data += more
        if data.startswith(MAGIC):
            yield from self._unpacked(data)
            return
        for magic, name in _PACKED.items():
            if data.startswith(magic):
                self.trouble = f"it is packed with {name}: unpack it first ({name} -dc FILE | banyan top -)"
                return
        if data.startswith(b"\xef\xbb\xbf"):  # a byte order mark
            data = data[3:]
        while data:
            yield data
            data = self._stream.read(_BLOCK)

    def _unpacked(self, begun: bytes) -> Iterator[bytes]:
        gunzip = Gunzip(self._stream, begun)
        while data := gunzip.piece(_BLOCK):
            yield data
        self.trouble = gunzip.trouble


def split(chunk: bytes) -> list[bytes]:
    """Its lines."""
    lines = chunk.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
