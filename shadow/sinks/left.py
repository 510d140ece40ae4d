"""Counts that a shipper could not send before its end, in a file of their own, for the next one. Never an exchange."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from shadow.pack import Draft

_log = logging.getLogger("banyan.shadow")

MAX_FILES = 100
_PREFIX = "unsent-"


class Left:
    """The files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._from: dict[str, Path] = {}

    def write(self, packs: list[Draft]) -> bool:
        """Whether all of `packs` are safe. They hold counts only."""
        if not packs:
            return True
        path = self._folder / f"{_PREFIX}{packs[0].id}"
        new = path.with_suffix(".new")
        if sum(1 for _ in self._folder.glob(f"{_PREFIX}*")) >= MAX_FILES:
            _log.error("counts that NATS did not take can't be kept either: %s has %d files of them already", self._folder, MAX_FILES)
            return False
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.msgpack.encode(packs))
            new.replace(path)
        except OSError as error:
            _log.error("counts that NATS did not take can't be kept either (%s: %s)", path, error.strerror)
            return False
        _log.warning("counts that NATS did not take are kept in %s for the next start", path)
        return True

    def read(self) -> list[Draft]:
        """All that were left. `remove` each when it has arrived."""
        found: list[Draft] = []
        for path in sorted(self._folder.glob(f"{_PREFIX}*")):
            if path.suffix == ".new":
                continue
            try:
                packs = msgspec.msgpack.decode(path.read_bytes(), type=list[Draft])
            except (OSError, msgspec.MsgspecError) as error:
                _log.error("%s can't be read and stays: %s", path, type(error).__name__)
                continue
            found += packs
            self._from |= {each.id: path for each in packs}
        return found

    def remove(self, arrived: Draft) -> None:
        """`arrived` need not be kept any more."""
        path = self._from.pop(arrived.id, None)
        if path is not None and path not in self._from.values():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.error("%s can't be removed (%s): it will be sent again at the next start, and not counted again", path, error.strerror)
