"""A gzip file (RFC 1952), also one that breaks off: what of it can be had comes first, and then what was wrong."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, Final

MAGIC: Final = b"\x1f\x8b"
_PIECE: Final = 64 * 1024


class Gunzip(io.RawIOBase):
    """What is in `file`, of which `begun` has been read. It ends where the file does, or where that is broken: then `trouble` says why.
    Memory: a piece, whatever it claims to hold."""

    def __init__(self, file: BinaryIO, begun: bytes = b"") -> None:
        super().__init__()
        self._file = file
        self._inflater = zlib.decompressobj(31)
        self._left = begun
        """Read, and not yet decompressed."""
        self.trouble = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        """As io.RawIOBase."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed has no type for it that both know
        data = self.piece(len(view))
        view[: len(data)] = data
        return len(data)

    def piece(self, most: int) -> bytes:
        """The next bytes, so many at most; none where it ends."""
        while not self.trouble:
            if not self._left:
                self._left = self._file.read(_PIECE)
                if not self._left:
                    if not self._inflater.eof:
                        self.trouble = "it is compressed, and ends too soon: its gzip'ed part is cut off"
                    return b""
            if self._inflater.eof and not self._next():
                continue
            try:
                data = self._inflater.decompress(self._left, most)
            except zlib.error as error:
                self.trouble = f"its gzip'ed part is damaged ({error})"
                return b""
            self._left = self._inflater.unconsumed_tail or self._inflater.unused_data
            if data:
                return data
        return b""

    def _next(self) -> bool:
        """Whether another member begins here: several are one file (RFC 1952, 2.2), where logs were appended to each other."""
        self._left = self._left.lstrip(b"\0")  # tapes and some rotators pad
        if not self._left:
            return False
        if len(self._left) < len(MAGIC):
            self._left += self._file.read(_PIECE)
        if not self._left.startswith(MAGIC):
            self.trouble = "something follows the gzip'ed part that is not gzip'ed"
            return False
        self._inflater = zlib.decompressobj(31)
        return True
