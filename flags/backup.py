"""The last document that Unleash sent, for a start without Unleash: JSON, private, replaced whole."""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path
from typing import Final

from flags.admin import write_atomically
from flags.features import FeaturesError
from flags.salvage import Salvaged, salvage

_log = logging.getLogger("banyan.flags")

MAX_BYTES: Final = 64 * 1024 * 1024
RETRY: Final = 30.0
"""Seconds after which a document that could not be written is tried again."""


class BackupError(ValueError):
    """There is no backup to go by. The message reads on after "and "."""


class Backup:
    """Belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: bytes | None = None
        self._tried = 0.0
        self._said = ""

    def read(self, *, whosever: bool = False) -> tuple[Salvaged, float]:
        """The document, and since when (Unix seconds) it is there. `whosever`: it may be another user's, whose gateway would go by it.

        Raises:
            BackupError: missing, unreadable, malformed, or somebody else may have written it.
        """
        try:
            # Opened first, looked at then: what is looked at is what is read. A pipe must not make a start wait.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                about = os.fstat(descriptor)
                self._check(about, whosever)
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    data = file.read(MAX_BYTES)
            finally:
                os.close(descriptor)
            return salvage(data), about.st_mtime
        except FileNotFoundError:
            raise BackupError(f"there is no backup at {self.path}") from None
        except OSError as error:
            raise BackupError(f"the backup at {self.path} can't be read ({error.strerror or error})") from None
        except FeaturesError as error:
            raise BackupError(f"the backup at {self.path} can't be used ({error})") from None

    def write(self, data: bytes) -> None:
        """Never raises: what could not be written is said once, and tried again by `again`."""
        self._waiting = data
        self._tried = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, data, mode=0o600)
        except OSError as error:
            why = error.strerror or str(error)
            if why != self._said:
                _log.warning(
                    "flags.backup: %s can't be written (%s). Unleash down at a start would mean older flags or none", self.path, why
                )
            self._said = why
            return
        self._waiting = None
        if self._said:
            _log.info("flags.backup: %s is written again", self.path)
        self._said = ""

    def again(self) -> None:
        """Tries what could not be written, now and then. Costs nothing where there is nothing."""
        if self._waiting is not None and time.monotonic() - self._tried >= RETRY:
            self.write(self._waiting)

    def _check(self, about: os.stat_result, whosever: bool) -> None:
        """Whoever may write it decides what everybody is served."""
        if not stat.S_ISREG(about.st_mode):
            raise BackupError(f"the backup at {self.path} is not a file")
        if about.st_size > MAX_BYTES:
            raise BackupError(f"the backup at {self.path} can't be used (over {MAX_BYTES // 1024 // 1024} MiB)")
        if not whosever and about.st_uid not in {os.geteuid(), 0}:
            raise BackupError(f"the backup at {self.path} can't be used (it belongs to another user, {about.st_uid}; delete it)")
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BackupError(f"the backup at {self.path} can't be used (others may write it: chmod 600, if nobody did)")
