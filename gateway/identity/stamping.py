"""The stamps that a configuration asks for: who signs them, and by which keys they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.identity.stamp import ENTRIES, Stamps
from gateway.settings import Config
from gateway.settings import StampKey as Settings

if TYPE_CHECKING:
    from gateway.identity.stamp_keys import StampKey


class StampKeyError(Exception):
    """A key cannot be used. The message names its setting, its file, and what to do, and holds nothing of the key."""


def keys(config: Config) -> list[StampKey]:
    """The first signs. None where nothing is stamped.

    Raises:
        StampKeyError: one of them cannot be used.
    """
    stamp = config.identity.stamp
    if stamp is None:
        return []
    found: dict[str, str] = {}
    made = []
    for index, settings in enumerate(stamp.all_keys):
        where = f"identity.stamp.keys[{index}]" if stamp.keys else "identity.stamp"
        key = _read(config, settings, where)
        if key.kid in found:
            raise StampKeyError(f"{where}: is the same key as {found[key.kid]}; remove one of them")
        found[key.kid] = where
        made.append(key)
    return made


def check(config: Config) -> None:
    """Reads the key files, once: `config` holds them from then on, for the supervisor and every worker that goes by it.

    Raises:
        StampKeyError: one cannot be used.
    """
    stamp = config.identity.stamp
    if stamp is not None:
        files = [settings.key_file for settings in stamp.all_keys if settings.key_file]
        contents = {}
        for file in files:
            try:
                contents[file] = config.resolve(file).read_bytes()
            except OSError as error:
                raise StampKeyError(f"identity.stamp: {config.resolve(file)}: {error.strerror}. Name another file") from error
        config.hold(contents)
        keys(config)


def stamps(config: Config, before: Stamps | None = None, *, domain: str = "", entries: int = ENTRIES) -> Stamps | None:
    """For a worker. `before`: those that these replace, which go on where they would be the same. `domain`: what the stamps name as that of
    the API for which they are made (gateway/policy/domains.py)."""
    stamp = config.identity.stamp
    if stamp is None:
        return None
    key = keys(config)[0]
    if before is not None and (before.kid, before.issuer, before.ttl) == (key.kid, stamp.issuer, stamp.ttl):
        return before
    return Stamps(key.sign, key.kid, stamp.issuer, stamp.ttl, entries, domain)


def published(config: Config) -> dict[str, list[dict[str, object]]]:
    """The public keys, as a key set (RFC 7517, 5). Secrets are none."""
    return {"keys": [dict(key.public) for key in keys(config) if key.public is not None]}


def _read(config: Config, settings: Settings, where: str) -> StampKey:
    from gateway.identity.stamp_keys import read_key  # it loads cryptography, which a gateway without stamps does not need

    if not settings.key_file:
        return read_key(settings.key.get_secret_value(), settings.algorithm)
    path = config.resolve(settings.key_file)
    try:
        data = config.content(settings.key_file)
    except OSError as error:
        raise StampKeyError(f"{where}.key_file: {path}: {error.strerror}. Name another file") from error
    if b"-----BEGIN" not in data:  # a secret in a file would do, but not whatever else somebody has named by mistake
        raise StampKeyError(f"{where}.key_file: {path}: holds no PEM; expected a private key, not encrypted. A secret is written as key")
    try:
        return read_key(data, settings.algorithm)
    except ValueError as error:
        raise StampKeyError(f"{where}.key_file: {path}: {error}") from None
