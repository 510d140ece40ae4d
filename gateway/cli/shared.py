"""What every verb shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings import Config


class RefusalError(Exception):
    """The command cannot be carried out. The message says what, where and what to do; `status` is 2 for wrong use, 1 for a plain no."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def load_config(path: Path) -> Config:
    """The configuration in `path`.

    Raises:
        RefusalError: it cannot be used.
    """
    from gateway.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise RefusalError(str(error)) from error


def who() -> str:
    """Who gives this command: the login name, and this machine's."""
    import getpass
    import socket

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        name = "somebody"
    return f"{name}@{socket.gethostname()}"
