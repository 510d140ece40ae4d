"""A file is replaced whole, or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import IO


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replaces the file whole. `mode` None keeps the mode, the owner and the group that it has (a new one: 0644, and whoever runs this): a
    file that only the gateway's user may read stays readable to it, whoever changes it.

    Raises:
        OSError: it can't be written, or not as its owner's; the old content stands.
    """
    there: os.stat_result | None = None
    if mode is None:
        try:
            there = path.stat()
            mode = stat.S_IMODE(there.st_mode)
        except FileNotFoundError:
            mode = 0o644
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from its first moment
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if there is not None:
                _keep_owner(file, there)
            os.fchmod(file.fileno(), mode)  # after its owner, whose change may take bits away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _keep_owner(file: IO[bytes], there: os.stat_result) -> None:
    """
    Raises:
        OSError: whoever runs this may not give files to that owner.
    """
    ours = os.fstat(file.fileno())
    if (ours.st_uid, ours.st_gid) == (there.st_uid, there.st_gid):
        return
    try:
        os.fchown(file.fileno(), there.st_uid, there.st_gid)
    except OSError as error:
        raise OSError(
            error.errno,
            f"it belongs to user {there.st_uid} and group {there.st_gid}, and would be yours (user {ours.st_uid}, group {ours.st_gid}) "
            f"afterwards, so that the gateway might not read it any more. Do this as user {there.st_uid}, or as root",
        ) from None
