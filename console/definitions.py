"""What the gateway's flags are, read where its source reads them or writes them down: its admin port only says on and off.

The gateway says by which digest it decides. A file with another digest is not what it decides by, and nothing of it is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.admin_port import FlagsNow
from flags.features import FeaturesError, normalised, parse, revision
from flags.file import MAX_BYTES
from flags.salvage import salvage
from gateway.config import Config


class Definitions:
    """Remembers what belongs to the revision that was asked for last."""

    def __init__(self, config: Config) -> None:
        flags = config.flags
        self._file = config.resolve(flags.path)
        self._backup = config.resolve(flags.backup)
        self._revision = ""
        self._features: dict[str, dict[str, Any]] | None = None
        self._stamp: tuple[int, ...] = ()

    def of(self, now: FlagsNow) -> dict[str, dict[str, Any]] | None:
        """Flag → its definition, for the revision that the gateway decides by; None where no file has that."""
        if now.revision == self._revision and self._features is not None:
            return self._features
        file = now.source == "file"
        path = self._file if file else self._backup
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if now.revision == self._revision and stamp == self._stamp:
                return None  # read, and it was another
            self._revision, self._stamp, self._features = now.revision, stamp, None
            if path.is_file() and stat.st_size <= MAX_BYTES:
                self._features = _read(path, now.revision, file=file)
        except (OSError, FeaturesError):
            return None
        return self._features


def _read(path: Path, wanted: str, *, file: bool) -> dict[str, dict[str, Any]] | None:
    data = path.read_bytes()
    if revision(data) != wanted:
        # What a person wrote reaches the engine in Unleash's own form, and what Unleash sent without what the engine would refuse.
        data = normalised(data) if file else salvage(data).features
        if revision(data) != wanted:
            return None
    return {feature["name"]: feature for feature in parse(data)["features"]}
