"""HTTP/2 frames as they come off the wire, one at a time, and how many of the useless sort a client may send.

They are cut here, before h2 sees them: h2 keeps a frame of up to 16 MiB before it says that it is too long, copies all that is buffered for
each frame that it takes off, and knows of events only once all frames of a read are through. So what is too long is refused by its header,
and what a frame means is done before the next one is looked at.
"""

from __future__ import annotations

from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, 3.4."""
HEADER: Final = 9
"""Bytes of a frame's header (RFC 9113, 4.1)."""
MAX_FRAME: Final = 16_384
"""Bytes of a frame's payload: the smallest that SETTINGS_MAX_FRAME_SIZE allows, and what is said there (RFC 9113, 6.5.2)."""

# RFC 9113, section 6.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8


class FrameError(Exception):
    """No frame can be there: `code` is what to say about it (RFC 9113, section 7)."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Frames:
    """What a client sends, cut into its preface and frames."""

    __slots__ = ("_at", "_buffer", "_preface")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._preface = True

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def take(self) -> bytes:
        """The next frame with its header, at the very first the preface; b'' if it is not all there.

        Raises:
            FrameError: it is too long, or not the preface.
        """
        buffer, at = self._buffer, self._at
        size = len(buffer) - at
        if self._preface:
            if buffer[: len(PREFACE)] != PREFACE[:size]:
                raise FrameError(1, "not the preface")
            if size < len(PREFACE):
                return b""
            self._preface = False
            self._at = len(PREFACE)
            return PREFACE
        if size < HEADER:
            return b""
        length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
        if length > MAX_FRAME:
            raise FrameError(6, "a frame is too long")
        end = at + HEADER + length
        if len(buffer) < end:
            return b""
        self._at = end
        return buffer[at:end]

    @property
    def partial(self) -> int:
        """What of the next one has come: 0 nothing, 1 a part of it, 2 a part of a body, which has a time limit of its own."""
        begun = len(self._buffer) - self._at
        if begun <= 0:
            return 0
        return 2 if begun > 3 and not self._preface and self._buffer[self._at + 3] == DATA else 1


class Patience:
    """How much a client may ask that costs work and brings nothing: a bucket that fills by itself, and by real work.

    Each frame that carries nothing takes one drop (the floods of CVE-2019-9511 to 9518, and what came after them).
    """

    __slots__ = ("_at", "_drops")

    DROPS: Final = 1000.0
    """As many at once. A browser sends some ten at a connection's beginning, and a few with each request."""
    A_SECOND: Final = 500.0
    """As many for ever: that is less than 2 % of a core."""
    BYTES: Final = 512
    """For so many bytes of an answer it gets another one: clients acknowledge what they receive, some of them each frame twice."""
    A_REQUEST: Final = 4.0

    def __init__(self, now: float) -> None:
        self._drops = self.DROPS
        self._at = now

    def take(self, now: float, drops: float = 1.0) -> bool:
        """So many drops. False: there are not so many left."""
        drops = min(self.DROPS, self._drops + (now - self._at) * self.A_SECOND) - drops
        self._at = now
        self._drops = drops
        return drops >= 0

    def give(self, drops: float) -> None:
        self._drops += drops


class Resets:
    """Streams that ended with a reset, in the last while (CVE-2023-44487; by our own resets too: CVE-2025-8671)."""

    __slots__ = ("_count", "_since")

    MOST: Final = 200
    """Within SECONDS; a browser that leaves a page resets what is open, at most 100."""
    SECONDS: Final = 10.0

    def __init__(self, now: float) -> None:
        self._since = now
        self._count = 0

    def add(self, now: float) -> bool:
        """One more. False: too many."""
        if now - self._since > self.SECONDS:
            self._since = now
            self._count = 0
        self._count += 1
        return self._count <= self.MOST
