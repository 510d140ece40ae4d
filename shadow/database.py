"""A database address as Django wants it. SQLite by default, PostgreSQL by the same key; anything else is refused in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

BUSY_SECONDS = 10
"""How long a writer waits for another. Transactions here take milliseconds; a backup may hold the file for a second or two."""


class DatabaseURLError(ValueError):
    """The address can't be used. It may hold a password, wherever that was put, so nothing of it is repeated."""


def sqlite_path(url: str, folder: Path) -> Path | None:
    """The file that a sqlite:/// address means, relative ones below `folder`; None for any other address.

    `sqlite:///var/x.sqlite3` is relative and `sqlite:////srv/x.sqlite3` absolute, as SQLAlchemy and dj-database-url have it.
    """
    if not url.startswith("sqlite:"):
        return None
    rest = url.removeprefix("sqlite:")
    if not rest.startswith("///") or len(rest) == 3 or "?" in rest:
        raise DatabaseURLError('write "sqlite:///relative/path" or "sqlite:////absolute/path"')
    return (folder / unquote(rest[3:])).absolute()


def settings(url: str, folder: Path) -> dict[str, Any]:
    """One entry of Django's DATABASES.

    Raises:
        DatabaseURLError: neither sqlite:///… nor postgres://…
    """
    path = sqlite_path(url, folder)
    if path is not None:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(path),
            "OPTIONS": {
                # IMMEDIATE: a transaction that will write takes its lock at once and waits for it, instead of failing half-way.
                "transaction_mode": "IMMEDIATE",
                "timeout": BUSY_SECONDS,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON",
            },
        }
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its words are parts of the address: an unescaped / in a password makes the rest a port
        raise DatabaseURLError("the database address has a bad port or host; write / @ : [ in a password as %2F %40 %3A %5B") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise DatabaseURLError('write "sqlite:///path" or "postgres://user:password@host:port/name"')
    if len(parts.path) < 2:
        raise DatabaseURLError("the database's name is missing: postgres://user:password@host:port/NAME")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", unquote(parts.hostname or "")),
        "PORT": options.pop("port", str(port or "")),
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"connect_timeout": "5", **options},
    }


def state_folder(url: str, folder: Path) -> Path:
    """Where files live that belong to this database and not in it: the redaction key, locks."""
    path = sqlite_path(url, folder)
    return path.parent if path is not None else folder / "var"


def prepare(url: str, folder: Path) -> None:
    """Makes an SQLite file if there is none, readable by its owner alone: samples hold what people's answers held.

    SQLite gives its -wal and -shm files the mode of the file itself. A file that is there is not opened: closing it would drop the locks of
    all connections that this process has to it (POSIX; "How To Corrupt An SQLite Database File", 2.2), and the next process to close would
    take itself for the last, and remove the -wal that this one still writes to.

    Raises:
        OSError: the file or its folder can't be made, or the file can't be used.
    """
    path = sqlite_path(url, folder)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    elif path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    elif not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    path.chmod(0o600)
