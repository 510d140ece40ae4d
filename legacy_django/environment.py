"""What the shop takes from its environment: the database's address and the secret key.

A wrong value stops the start with one line that names the variable; the value itself may hold a password and is never repeated.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def flag(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """A yes-or-no variable; unset is no."""
    value = environ.get(name, "").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"", "0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}: expected 1 or 0, got {value!r}")


def number(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """A positive whole number."""
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ImproperlyConfigured(f"{name}: expected a positive whole number, got {value!r}")
    return int(value)


def http_url(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """An http:// address; "" where it is unset. Nothing of a wrong one is repeated: it may hold a password."""
    value = environ.get(name, "").strip()
    try:
        parts = urlsplit(value)
        right = not value or (parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and "@" not in value)
    except ValueError:
        right = False
    if not right:
        raise ImproperlyConfigured(f"{name}: expected http://host:port/path")
    return value


def folder(name: str, default: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """A folder, made where it is missing."""
    path = Path(environ.get(name) or default)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: {path} cannot be made: {error.strerror}; name a folder that can be written") from None
    return path


def database(url: str) -> dict[str, Any]:
    """Django's settings for sqlite:///path, postgres://user:password@host:port/name or postgresql:///name?host=/socket/folder."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its words are parts of the address: an unescaped / in a password makes the rest a port
        raise ImproperlyConfigured("DATABASE_URL: a bad port or host; write / @ : [ in a password as %2F %40 %3A %5B") from None
    if parts.scheme == "sqlite":
        # As elsewhere: three slashes and a relative path, four and an absolute one.
        path = unquote(parts.path).removeprefix("/")
        if parts.netloc or not path:
            raise ImproperlyConfigured("DATABASE_URL: for SQLite write sqlite:///relative/path or sqlite:////absolute/path")
        return sqlite(path)
    if parts.scheme in {"postgres", "postgresql"}:
        return _postgresql(parts)
    raise ImproperlyConfigured(f"DATABASE_URL: expected sqlite:///… or postgres://…, got a URL that begins with {parts.scheme!r}")


def sqlite(path: str) -> dict[str, Any]:
    """Django's settings for the database in a file."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            "timeout": 10,
            # A transaction that begins as a reader and then writes fails at once when another wrote meanwhile, timeout or not.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        },
    }


def _postgresql(parts: SplitResult) -> dict[str, Any]:
    options = dict(parse_qsl(parts.query))
    host = options.pop("host", parts.hostname or "")
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path).removeprefix("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": options.pop("port", str(parts.port or "")),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": "5", **options},
    }
    if not settings["NAME"]:
        raise ImproperlyConfigured("DATABASE_URL: the database's name is missing: postgres://user:password@host:port/NAME")
    return settings


def secret_key(path: Path) -> str:
    """The key in `path`, made at the first call: all workers must sign with the same one, and sessions outlive a restart."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: several workers may start at once, and none may read half a key.
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as draft:  # made with mode 0600
        draft.write(secrets.token_urlsafe(50) + "\n")
        draft.flush()
        try:
            os.link(draft.name, path)
        except FileExistsError:
            pass  # another worker was first: its key is everybody's
    return path.read_text().strip()
