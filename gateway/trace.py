"""Trace context (W3C Trace Context, level 1): one trace for a request and for its mirror, whoever began it."""

from __future__ import annotations

import os
import re
from typing import Final

_VALID: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.DOTALL)
_POOL: Final = 1024
_FIRST: Final = 100_000_000
"""So that every count has nine digits."""
_THREE: Final = [b"%03d" % number for number in range(1000)]


def valid(traceparent: bytes) -> bool:
    """Is it of version 00, or of a later one that still begins so (section 3.2.4)?"""
    return _VALID.fullmatch(traceparent) is not None and (len(traceparent) == 55 or not traceparent.startswith(b"00"))


class Ids:
    """What a request is called, one after the other: unique in all workers by random bits of this worker's start, and a count.

    A trace's lower half is random for itself, since samplers go by it; it comes from a pool, because asking the system for random bytes
    costs ten times as much as everything else here.
    """

    __slots__ = ("_begin", "_count", "_high", "_prefix", "_tails", "_text")

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._prefix = os.urandom(6).hex().encode()
        pool = [os.urandom(8).hex().encode() for _ in range(_POOL)]
        # What does not change with the count is put together once.
        self._begin = b"00-" + self._prefix[:7]
        self._tails = [b"%b-%b-00" % (pool[at], pool[at - 1]) for at in range(_POOL)]
        self._count = _FIRST
        self._high = str(_FIRST // 1000).encode()
        """The count's first six digits."""
        self._text = b""

    def begin(self) -> None:
        """The next request."""
        count = self._count = self._count + 1
        low = count % 1000
        if low == 0:
            if count == 10 * _FIRST:
                self._restart()
            self._high = str(self._count // 1000).encode()
        self._text = self._high + _THREE[low]

    def request_id(self) -> bytes:
        """12 hexadecimal digits of the worker, and the count."""
        return self._prefix + self._text

    def traceparent(self) -> bytes:
        """A new trace, not sampled: whether anybody records it is for others to say."""
        return b"%b%b%b" % (self._begin, self._text, self._tails[self._count % _POOL])
