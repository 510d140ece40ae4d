"""The access log: one JSON line a request, with everything in it, written by a thread so that the loop never waits for a disk or a pipe.

Lines wait in a bounded buffer. When the target is slow, full or gone, lines are what is lost, and the loss is counted: requests go on.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

import orjson

FLUSH_SECONDS = 0.2
MAX_LINES = 50_000
"""About 15 MB of waiting lines."""


class AccessLog:
    """`target`: "-" is standard output, "" is nowhere, anything else a path to append to."""

    def __init__(self, target: str) -> None:
        self.enabled = target != ""
        self.dropped = 0
        """Lines lost so far."""
        self._lines: deque[dict[str, object]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._target = target
        self._fd = -1
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        if self.enabled:
            # 0600: paths and client addresses are personal data.
            self._fd = 1 if target == "-" else os.open(Path(target), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._thread.start()

    def write(self, line: dict[str, object]) -> None:
        """Takes one request's line. Serialising it is the thread's work."""
        if len(self._lines) >= MAX_LINES:
            self.dropped += 1
            return
        self._lines.append(line)

    def close(self, timeout: float = 2.0) -> None:
        """Writes what is left, for at most `timeout` seconds."""
        if self.enabled:
            self._closing = True
            self._wake.set()
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait(FLUSH_SECONDS)
            closing = self._closing
            count = len(self._lines)
            if count:
                self._flush([self._lines.popleft() for _ in range(count)])
            if closing:
                return

    def _flush(self, lines: list[dict[str, object]]) -> None:
        data = memoryview(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.dropped += len(lines)
