"""Who may read the files that hold secrets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.config import Config, ConfigError, read
from gateway.doctor.findings import Finding
from gateway.doctor.looking import secrets_of
from shadow import database

_ABOUT = "secret files"


def look(config: Config) -> Sequence[Finding]:
    """What others than the owner may do with them. A group may read: that is how secrets are mounted into containers."""
    found, count = [], 0
    for what, path in dict(_files(config)).items():
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue  # of what is configured the configuration's own look says so; the rest is made at a start
        except OSError as error:
            found.append(Finding(_ABOUT, "wrong", f"{what}: {path}: {error.strerror}", "make it readable for the gateway's user"))
            continue
        count += 1
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            who = "everybody on this machine" if mode & stat.S_IRWXO else "its group"
            may = "write" if mode & (stat.S_IWOTH | stat.S_IWGRP) else "read"
            found.append(Finding(_ABOUT, "wrong", f"{what}: {path} ({stat.filemode(mode)}): {who} may {may} it", f"chmod 600 {path}"))
        elif not os.access(path, os.R_OK):
            found.append(Finding(_ABOUT, "wrong", f"{what}: {path} cannot be read", "make it readable for the gateway's user"))
    return found or [Finding(_ABOUT, "fine", f"{count} of them, which nobody else may read" if count else "none yet")]


def _files(config: Config) -> Iterator[tuple[str, Path]]:
    if _spelt_out(config):
        yield f"{config.path.name} has a secret in it (${{NAME}} keeps it out)", config.path
    for pair in config.gateway.tls:
        yield f"gateway.tls key {pair.key}", config.resolve(pair.key)
    for name, upstream in config.upstreams.items():
        if upstream.tls.key:
            yield f"upstreams.{name}.tls.key", config.resolve(upstream.tls.key)
    stamp = config.identity.stamp
    for each in stamp.all_keys if stamp is not None else ():
        if each.key_file:
            yield f"identity.stamp {each.key_file}", config.resolve(each.key_file)
    for name in ("key", "credentials", "nkey"):
        file = getattr(config.shadow.jetstream, name)
        if file:
            yield f"shadow.jetstream.{name}", config.resolve(file)
    for key, url in (("shadow.database", config.shadow.database), ("ledger.database", config.ledger.database)):
        path = database.sqlite_path(url, config.folder)
        if path is not None:
            yield key, path
    state = database.state_folder(config.shadow.database, config.folder)
    yield "the key that redacts", state / "redact.key"
    yield "the console's key", state / "console.key"


def _spelt_out(config: Config) -> bool:
    try:
        text = read(config.path)
    except ConfigError:
        return False
    return any(secret in text for secret in secrets_of(config))
