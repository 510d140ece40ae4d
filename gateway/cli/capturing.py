"""Reads what the shipper tells (shadow/taps.py), and writes it down, within limits."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.cli.waiting import Progress
from recorded import json_lines
from recorded.checked import MAX_ENTRY
from recorded.entry import Entry, Trouble
from recorded.reading import Format
from recorded.writing import Writer

CONNECT_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.5
"""Between two looks at the time, while nothing comes."""
SILENT_SECONDS: Final = 10.0
"""A shipper that lives says something twice a second."""
AGAIN_SECONDS: Final = 0.5
TRIES: Final = 10
"""For the next shipper, after one has ended: a reload starts another."""


class CaptureError(Exception):
    """It cannot be captured. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When it ends."""

    seconds: float
    count: int
    """0: none."""
    bytes: int


@dataclass(slots=True)
class Counts:
    """What the shippers said of the wanted routes' exchanges, all of them together."""

    seen: int = 0
    sampled_out: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(slots=True)
class Captured:
    """What came of it."""

    entries: int = 0
    bytes: int = 0
    ended: str = ""
    """What ended it: time, count, bytes, Ctrl-C, or the gateway's end."""
    unwritten: int = 0
    """That came, and are not in the file: there was no room, or no format for them."""
    counts: Counts = field(default_factory=Counts)

    def plain(self, to: Path) -> dict[str, Any]:
        """For machines."""
        return {
            "file": str(to) if self.entries else None,
            "entries": self.entries,
            "bytes": self.bytes if self.entries else 0,
            "ended": self.ended,
            "unwritten": self.unwritten,
            **asdict(self.counts),
        }


def run(ask: Callable[[], dict[str, Any]], to: Path, form: Format, routes: list[str], sample: float, limits: Limits) -> Captured:
    """Until a limit is reached, Ctrl-C, or the gateway's end. `ask`: what GET /capture says.

    Raises:
        CaptureError: nothing can be captured, or written.
    """
    captured = Captured()
    progress = Progress()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was captured is whole, whoever ends it
    deadline = time.monotonic() + limits.seconds
    question = json.dumps({"routes": routes, "sample": sample}).encode() + b"\n"
    try:
        writer = Writer(to, form)
    except OSError as error:
        raise CaptureError(f"--to {to}: cannot be written ({error.strerror})") from error
    try:
        try:
            sock = _connected(ask, question, again=False)
            while sock is not None and not captured.ended:
                _listen(sock, writer, captured, limits, deadline, progress)
                if not captured.ended:  # a reload starts another shipper
                    sock = _connected(ask, question, again=True)
            captured.ended = captured.ended or "the gateway's end"
        except KeyboardInterrupt:
            captured.ended = "Ctrl-C"
        captured.entries, captured.bytes = writer.entries, writer.bytes
        if writer.entries:
            writer.close()
        else:
            writer.discard()
    except OSError as error:
        writer.discard()
        raise CaptureError(f"--to {to}: cannot be written ({error.strerror})") from error
    except BaseException:
        writer.discard()
        raise
    finally:
        progress.end()
    return captured


def _connected(ask: Callable[[], dict[str, Any]], question: bytes, *, again: bool) -> socket.socket | None:
    """`again`: there was a shipper before. None: there is none any more.

    Raises:
        CaptureError: there is none, and was none.
    """
    for number in range(TRIES):
        try:
            return _asked(ask()["socket"], question)
        except CaptureError:
            if not again:
                raise
        except PermissionError as error:
            raise CaptureError("the gateway runs as another user: capture as that one, who alone may see its traffic") from error
        except OSError as error:
            if number == TRIES - 1 and not again:
                raise CaptureError(f"the gateway's shipper does not answer ({error.strerror}). Is it on this machine?") from error
        time.sleep(AGAIN_SECONDS)
    return None


def _asked(path: str, question: bytes) -> socket.socket:
    """
    Raises:
        OSError: nobody answers there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_SECONDS)
        sock.connect(path)
        sock.sendall(question)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen(sock: socket.socket, writer: Writer, captured: Captured, limits: Limits, deadline: float, progress: Progress) -> None:
    """To one shipper, until it ends, or all does: then `captured.ended` says why."""
    before = Counts(**asdict(captured.counts))
    with sock:
        for line in _lines(sock, deadline):
            if line is None:
                captured.ended = "time"
                return
            told = _told(line)
            if isinstance(told, Entry):
                _take(told, writer, captured, limits)
            elif isinstance(told, Trouble):
                captured.unwritten += 1
            else:
                if told.get("refused"):
                    raise CaptureError(f"the gateway does not let it be captured: {str(told['refused'])[:200]}")
                counts = told["capture"]
                captured.counts = Counts(
                    *(getattr(before, name) + int(counts[name]) for name in ("seen", "sampled_out", "dropped", "failed"))
                )
                progress.tell(f"{writer.entries} captured, {writer.bytes} bytes, {max(0.0, deadline - time.monotonic()):.0f} s left")
                if told.get("ended") or captured.ended:  # by a limit; and by now it is known what was captured until then
                    return


def _take(told: Entry, writer: Writer, captured: Captured, limits: Limits) -> None:
    if captured.ended:
        captured.unwritten += 1
    elif not writer.add(told, limits.bytes):
        captured.unwritten += 1
        captured.ended = "bytes"
    elif writer.entries == limits.count:
        captured.ended = "count"


def _told(line: bytes) -> Entry | Trouble | dict[str, Any]:
    """An entry, or what is said besides; or one that no recording can hold.

    Raises:
        CaptureError: it is no shipper of this version.
    """
    if not line.startswith(b'{"capture"'):
        return json_lines.entry(line, 1)
    try:
        told = json.loads(line)
        counts = told["capture"]
        if all(isinstance(counts[name], int) for name in ("seen", "sampled_out", "dropped", "failed")):
            return dict(told)
    except (ValueError, KeyError, TypeError):
        pass  # as below
    raise CaptureError("the gateway's shipper says something else than one of this version does")


def _lines(sock: socket.socket, deadline: float) -> Iterator[bytes | None]:
    """Each line; None when time is up. It ends with the connection, and when nothing is heard any more."""
    buffer = bytearray()
    heard = time.monotonic()
    sock.settimeout(LOOK_SECONDS)
    while True:
        now = time.monotonic()
        if now >= deadline:
            yield None
            return
        try:
            data = sock.recv(256 * 1024)
        except TimeoutError:
            if now - heard > SILENT_SECONDS:
                return
            continue
        except OSError:
            return
        if not data or len(buffer) > 2 * MAX_ENTRY:
            return
        heard = now
        buffer += data
        *whole, rest = bytes(buffer).split(b"\n")
        yield from whole
        buffer = bytearray(rest)
