"""What is right in banyan.toml by itself, and cannot be carried out: by this engine, or on this machine as it is now."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from gateway import tls
from gateway.config import Config
from gateway.identity import stamping
from gateway.ledger.database import AwayError, connect
from gateway.listening import why_not
from gateway.mitm.unfit import unfit
from gateway.reload import unwritable
from shadow import database
from shadow.redact import load_key

EDGE = "gateway.worker"
"""The module that runs the edge engine; whatever else carries requests is mitmproxy."""
INSPECTED = "inspecting"
"""The module of `banyan inspect`, which has one worker."""


def unusable(config: Config, engine: str) -> list[str]:
    """Before a start, and before a reload: one line for each obstacle. `engine`: the module that a worker runs."""
    problems = [*(unfit(config, alone=engine == INSPECTED) if engine != EDGE else unserved(config)), *unwritable(config)]
    try:
        tls.Certificates(config).read()
        tls.check_upstreams(config)
    except tls.TlsError as error:
        problems.append(str(error))
    try:
        stamping.check(config)
    except stamping.StampKeyError as error:
        problems.append(str(error))
    return [*problems, *unfit_keys(config), *unfit_nats(config), *unswitchable(config)]


def unserved(config: Config) -> list[str]:
    """What the edge engine cannot carry out."""
    return ["gateway.http3: the edge engine does not speak it; run the mitmproxy engine, or remove it"] if config.gateway.http3 else []


def unfit_nats(config: Config) -> list[str]:
    """What stands against the files by which NATS is believed, and believes us."""
    settings = config.shadow.jetstream
    if config.shadow.sink != "jetstream":
        return []
    problems = []
    if settings.ca:
        problems += _tried("ca", config.resolve(settings.ca), _as_authorities)
    if settings.certificate:
        key = config.resolve(settings.key) if settings.key else None
        problems += _tried("certificate", config.resolve(settings.certificate), lambda path: _as_certificate(path, key))
    if settings.credentials or settings.nkey:
        from shadow import nkeys  # cryptography takes its time

        read = nkeys.from_credentials if settings.credentials else nkeys.from_seed
        try:
            name = "credentials" if settings.credentials else "nkey"
            problems += _tried(name, config.resolve(settings.credentials or settings.nkey), read)
        except nkeys.NKeyError as error:
            problems.append(f"shadow.jetstream.{name}: {error}. Name another file")
    return problems


def _tried(name: str, path: Path, read: Callable[[Path], object]) -> list[str]:
    try:
        read(path)
    except ssl.SSLError:
        what = "holds no certificate in PEM" if name == "ca" else "holds no certificate and key in PEM that belong together"
        return [f"shadow.jetstream.{name}: {path}: {what}. Name another file"]
    except OSError as error:
        return [f"shadow.jetstream.{name}: {error.filename or path}: {why_not(error)}. Name another file"]
    return []


def _as_authorities(path: Path) -> None:
    ssl.create_default_context(cafile=path)


def _as_certificate(path: Path, key: Path | None) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, key, password="")


def unswitchable(config: Config) -> list[str]:
    """That a guard could not turn its flag off in the flag file. The file is replaced, so it is its folder that counts."""
    guarded = [route.name for route in config.routes if route.guard]
    folder = config.resolve(config.flags.path).resolve().parent
    if not guarded or config.flags.source != "file" or not folder.exists() or os.access(folder, os.W_OK):
        return []
    return [
        f"flags.path: {folder} cannot be written, and there the guard of {guarded[0]!r} would turn its flag off. Put the file "
        "where it can, or remove [routes.guard]"
    ]


def unfit_keys(config: Config) -> list[str]:
    """What stands against the files with keys of [identity.jwt]. They are read once: `config` holds what they held from then on, for every
    worker that goes by it."""
    problems = []
    for index, each in enumerate(config.identity.jwt.keys if config.identity.jwt is not None else ()):
        if not each.file:
            continue
        from gateway.identity.keyring import UnfitKeyError, from_public  # cryptography takes its time

        path, where = config.resolve(each.file), f"identity.jwt.keys[{index}]"
        try:
            data = path.read_bytes()
            from_public(data, each.algorithm)
            config.hold({each.file: data})
        except OSError as error:
            problems.append(f"{where}.public_key: {path}: {why_not(error)}. Name another file")
        except UnfitKeyError as error:
            problems.append(f"{where}.{error}: {path}")
    return problems


def unprepared(config: Config) -> list[str]:
    """Before a start: makes the database's tables and the key that redacts, where they are not there. What a child would stumble over."""
    url, key = config.shadow.database, "shadow.database"
    try:
        if config.shadow.sink == "local":
            database.prepare(url, config.folder)
        load_key(database.state_folder(url, config.folder) / "redact.key")
        if config.ledgered:
            url, key = config.ledger.database, "ledger.database"
            if config.ledger.local:  # else whoever is away at the start may be back later
                connect(url, config.folder, timeout=config.ledger.timeout).close()
    except AwayError as error:
        return [f"ledger.database: {error}. Name another file"]
    except OSError as error:
        return [f"{key}: {error.filename}: {error.strerror}. Name another file"]
    except ValueError as error:
        return [f"{key}: {error}"]
    return []
