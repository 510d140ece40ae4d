"""A gzip file (RFC 1952), also one that breaks off: what of it can be had comes first, and then what was wrong."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, Final

_PIECE: Final = 64 * 1024


class Gunzip(io.RawIOBase):
    """What is in `file`. It ends where the file does, or where that is broken: then `trouble` says why. Memory: a piece, whatever it claims
    to hold."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._inflater = zlib.decompressobj(31)
        self._left = b""
        """Read, and not yet decompressed."""
        self.trouble = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        """As io.RawIOBase."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed has no type for it that both know
        while not self.trouble:
            if not self._left:
                self._left = self._file.read(_PIECE)
                if not self._left:
                    if not self._inflater.eof:
                        self.trouble = "the file is compressed, and ends too soon"
                    return 0
            if self._inflater.eof:  # several members are one file (RFC 1952, 2.2)
                self._inflater = zlib.decompressobj(31)
            try:
                data = self._inflater.decompress(self._left, len(view))
            except zlib.error:
                self.trouble = "the file is compressed, and from here on broken"
                return 0
            self._left = self._inflater.unconsumed_tail or self._inflater.unused_data
            if data:
                view[: len(data)] = data
                return len(data)
        return 0
