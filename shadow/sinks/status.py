"""How the shipper's figures reach whoever answers for /metrics: a small file beside its socket, replaced once a second."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shadow.sinks import Status


def status_path(socket: Path) -> Path:
    """Of the shipper that listens on `socket`."""
    return socket.with_name(f"{socket.name}.status")


def tap_path(socket: Path) -> Path:
    """Where the same shipper is listened in on (shadow/taps.py)."""
    return socket.with_name(f"{socket.name}.tap")


def write_status(socket: Path, status: Status) -> None:
    """Puts `status` there, for readers to see the old one or the new one. A disk that is full costs a figure, and nothing else."""
    path = status_path(socket)
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(msgspec.json.encode(status))
        new.replace(path)
    except OSError:
        pass  # its age would tell: it is what the last scrape had, and the next second tries again


def read_status(socket: Path) -> Status | None:
    """What was written last; None: nothing yet."""
    try:
        return msgspec.json.decode(status_path(socket).read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None
