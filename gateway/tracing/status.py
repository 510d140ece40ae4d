"""How the exporter's figures reach whoever answers for /metrics: a small file beside its socket, replaced once a second."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Figures(msgspec.Struct):
    """What has become of spans since this exporter was started."""

    exported: int = 0
    dropped: dict[str, int] = {}
    """By reason."""
    waiting: int = 0
    """Now."""


def path_of(socket: Path) -> Path:
    """Of the exporter that listens on `socket`."""
    return socket.with_name(f"{socket.name}.status")


def write(socket: Path, figures: Figures) -> None:
    """Puts them there, for readers to see the old ones or the new ones. A disk that is full costs a figure, and nothing else."""
    path = path_of(socket)
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(msgspec.json.encode(figures))
        new.replace(path)
    except OSError:
        pass  # the next second tries again


def read(socket: Path) -> Figures | None:
    """What was written last; None: nothing yet."""
    try:
        return msgspec.json.decode(path_of(socket).read_bytes(), type=Figures)
    except (OSError, msgspec.MsgspecError):
        return None
