"""What lines are written to: a file, a named pipe, or standard output, each of which may be full, hang, or be taken away.

It blocks, and belongs to one thread. Every line that is put here is written whole or counted in `lost`.
"""

from __future__ import annotations

import logging
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger("banyan.worker")

FILE_PIECE: Final = 2**18
"""Bytes to a file in one write, for which lines are copied once."""
WAIT_SECONDS: Final = 0.1
"""How often it is asked whether to go on waiting for a pipe that is full."""


def open_target(path: str) -> int:
    """For appending. Never waits for a reader.

    Raises:
        OSError: lines cannot be written there.
    """
    # 0600: paths and client addresses are personal data. Not blocking: a named pipe that nobody reads is an error, not a wait without end,
    # and one that is full can be left for another target.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK, 0o600)


class Target:
    """`path`: "-" is standard output, "" is nowhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        """In words for its owner: the access log."""
        self.path = ""
        self.lost = 0
        """Lines, so far."""
        self._fd = -1
        self._file = False
        self._said = False
        """It was said that it cannot be opened."""
        self._unsure = False
        """A file may end amid a line: a worker's that was ended by force, or whose disk was full."""
        self._torn = False
        """It ends amid one of ours."""
        self._unseen = 0
        """Lines written since it was last seen that the file has a name."""

    def go_to(self, path: str) -> None:
        """Opens `path`, which may be the same as before and another file by now."""
        self.path = path
        self._said = False
        self._open()

    def look(self) -> None:
        """Opens what could not be opened before, or is no longer what the path names: renamed, replaced or deleted."""
        if self.path in ("", "-"):
            return
        if self._fd >= 0:
            try:
                held = os.fstat(self._fd)
                gone = held.st_nlink == 0
                moved = gone or self._moved(held)
            except OSError:  # a network file system that no longer knows the file
                gone = moved = True
            if gone:
                self.lost += self._unseen  # and nobody will read them
            self._unseen = 0
            if not moved:
                return
        self._open()

    def put(self, lines: list[bytes], leave: Callable[[], bool]) -> int:
        """Writes `lines`. While a pipe takes none, `leave` is asked whether to go without, which costs the piece that was to be written and
        comes back with the rest still to do. How many are done with; those of them that are lost are in `lost`."""
        # Several workers write to one pipe: up to PIPE_BUF bytes arrive in one piece, more may be torn by another's (POSIX, write).
        most = FILE_PIECE if self._file else select.PIPE_BUF
        done = 0
        piece: list[bytes] = []
        size = 0
        for line in lines:
            if piece and size + len(line) > most:
                left = self._put(piece, leave)
                done += len(piece)
                if left:
                    return done
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        self._put(piece, leave)
        return len(lines)

    def _open(self) -> None:
        fd = -1
        if self.path:
            try:
                fd = 1 if self.path == "-" else open_target(self.path)
            except OSError as error:
                if not self._said:
                    self._said = True
                    _log.error("%s %s cannot be opened (%s): its lines are lost until it can", self.what, self.path, error.strerror)
        if self._fd > 2:
            with suppress(OSError):  # a network file system may say only now that it is full
                os.close(self._fd)
        self._fd = fd
        self._file = fd >= 0 and stat.S_ISREG(os.fstat(fd).st_mode)
        self._unsure, self._torn, self._unseen = True, False, 0
        if fd >= 0 and self._said:
            self._said = False
            _log.warning("%s %s is written again", self.what, self.path)

    def _moved(self, held: os.stat_result) -> bool:
        try:
            there = Path(self.path).stat()
        except OSError:
            return self._file  # it can be made anew; a pipe may well live on without its path, as /proc/self/fd/5 does
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def _put(self, lines: list[bytes], leave: Callable[[], bool]) -> bool:
        """Was it left?"""
        if self._fd < 0:
            self.lost += len(lines)
            return False
        start = b"\n" if self._amid() else b""
        data = memoryview(start + b"".join(lines))
        done = 0
        left = False
        try:
            while done < len(data):
                try:
                    written = os.write(self._fd, data[done:])
                except BlockingIOError:
                    written = 0
                    left = leave()
                    if left:
                        raise
                    poll = select.poll()
                    poll.register(self._fd, select.POLLOUT)
                    poll.poll(int(WAIT_SECONDS * 1000))
                done += written
        except OSError:
            self._unsure = True
        whole, end = 0, len(start)
        for line in lines:
            if end + len(line) > done:
                break
            whole += 1
            end += len(line)
        if done:
            self._torn = done > end
        self._unseen += whole
        self.lost += len(lines) - whole
        return left

    def _amid(self) -> bool:
        """Is the target's end not a line's? For a file that may be another worker's doing, so it is asked."""
        if not self._file or self.path == "-":
            return self._torn
        if not self._unsure:
            return False
        self._unsure = False
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return self._torn
        try:
            end = os.lseek(fd, 0, os.SEEK_END)
            return end > 0 and os.pread(fd, 1, end - 1) != b"\n"
        except OSError:
            return self._torn
        finally:
            os.close(fd)
