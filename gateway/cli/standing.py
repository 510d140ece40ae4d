"""What a gateway would go by if it were started now: the flags, and the overrides that are written down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from flags.overrides import Override
    from flags.snapshot import Snapshot
    from gateway.settings import Config


def flags_from(config: Config) -> str:
    """Where `snapshot` has them from."""
    flags = config.flags
    return str(config.resolve(flags.path)) if flags.source == "file" else f"the backup {config.resolve(flags.backup)}"


def snapshot(config: Config) -> Snapshot:
    """The flags with which a gateway would start now, were Unleash down.

    Raises:
        RefusalError: a gateway would not start.
    """
    from flags.features import EMPTY, revision
    from flags.snapshot import Snapshot

    if config.flags.source == "file":
        from flags.file import FlagFileError, read

        try:
            data = read(config.resolve(config.flags.path))
        except FlagFileError as error:
            raise RefusalError(str(error)) from None
        return Snapshot(revision(data), data, "file", time.time())
    from flags.backup import Backup, BackupError

    try:
        saved, since = Backup(config.resolve(config.flags.backup)).read(whosever=True)
    except BackupError as error:
        return Snapshot(revision(EMPTY), EMPTY, "none", 0.0, str(error))
    return Snapshot(revision(saved.features), saved.features, "backup", since, refused=saved.refused)


def overrides(config: Config) -> Mapping[str, Override]:
    """Those that a gateway would find written down."""
    from flags.overrides import OverrideError, Overrides, read

    found = Overrides()
    try:
        data = read(config.resolve(config.flags.overrides))
        if data is not None:
            found.load(data, time.time())
    except (OSError, OverrideError):
        pass  # it would go without them too, and say so in its log
    return found.by_flag
