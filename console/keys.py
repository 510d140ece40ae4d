"""The console's signing key: from the environment, else made once and kept beside the database for its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def secret_key(folder: Path) -> str:
    """BANYAN_CONSOLE_SECRET_KEY, or what `folder`/console.key holds.

    Raises:
        OSError: the file can't be read or made.
    """
    given = os.environ.get("BANYAN_CONSOLE_SECRET_KEY", "")
    if given:
        return given
    path = folder / "console.key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
    return path.read_text()
