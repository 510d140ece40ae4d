"""The databases: of the comparisons, with the console's users in it, and of the ledger."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.config import Config, parse_address
from gateway.doctor.findings import Finding
from gateway.doctor.tables import AbsentError, AwayError, Tables, count, opened
from shadow import database

_MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "shadow" / "migrations"
_LEAST_ROOM: Final = 512 * 2**20
"""Bytes."""


def comparisons(config: Config, within: float) -> Sequence[Finding]:
    """Whether it can be read, and its tables are those of this version."""
    url, about = config.shadow.database, "store"
    try:
        with opened(url, config.folder, within) as tables:
            found = [_migrated(tables, about, _called(url, config))]
    except AbsentError:
        found = [Finding(about, "note", f"{_called(url, config)}: nothing yet; the first start makes it")]
    except AwayError as error:
        todo = "see whether the database runs, and whether shadow.database is right"
        return [Finding(about, "wrong", f"{_called(url, config)}: {error}", todo)]
    return [*found, *_room(url, config, about)]


def _called(url: str, config: Config) -> str:
    path = database.sqlite_path(url, config.folder)
    return str(path) if path is not None else "PostgreSQL"


def _migrated(tables: Tables, about: str, called: str) -> Finding:
    wanted = {path.stem for path in _MIGRATIONS.glob("[0-9]*.py")}
    if not tables.has("django_migrations"):
        return Finding(about, "note", f"{called}: no tables yet; the first start makes them")
    made = {str(row[0]) for row in tables.rows("SELECT name FROM django_migrations WHERE app = 'shadow'")}
    if newer := sorted(made - wanted):
        todo = "a newer Banyan has been here: run that one"
        return Finding(about, "wrong", f"{called}: its tables are not of this version ({newer[-1]})", todo)
    if missing := sorted(wanted - made):
        todo = "a start of banyan run, shadow or console makes them"
        return Finding(about, "warning", f"{called}: {len(missing)} changes of its tables are not made ({missing[0]} …)", todo)
    return Finding(about, "fine", f"{called}: its tables are up to date")


def _room(url: str, config: Config, about: str) -> list[Finding]:
    path = database.sqlite_path(url, config.folder)
    folder = next((each for each in path.parents if each.exists()), None) if path is not None else None
    if folder is None:
        return []
    free = shutil.disk_usage(folder).free
    if free >= _LEAST_ROOM:
        return []
    return [Finding(about, "warning", f"{folder} has {free // 2**20} MiB left", "make room, or shorten shadow.retention")]


def ledger(config: Config, within: float) -> Sequence[Finding]:
    """Only where a route keeps one: without it such a route is answered 503."""
    url, about = config.ledger.database, "ledger"
    if not config.ledgered:
        return [Finding(about, "fine", "no route keeps one")]
    try:
        with opened(url, config.folder, within) as tables:
            if not tables.has("ledger_entry"):
                return [Finding(about, "note", f"{_called(url, config)}: no tables yet; the first start makes them")]
            doubted = count(tables, "SELECT count(*) FROM ledger_entry WHERE state = 'in-doubt'")
    except AbsentError:
        return [Finding(about, "note", f"{_called(url, config)}: nothing yet; the first start makes it")]
    except AwayError as error:
        todo = f"until it can be used, {', '.join(config.ledgered)} is answered 503, and nothing is sent"
        return [Finding(about, "wrong", f"{_called(url, config)}: {error}", todo)]
    if doubted:
        return [Finding(about, "warning", f"{doubted} in doubt: nobody knows whether they were made", "`banyan payments in-doubt`")]
    return [Finding(about, "fine", f"{_called(url, config)}: nothing is in doubt")]


def console(config: Config, address: str, within: float) -> Sequence[Finding]:
    """Whether somebody can log in, and whether it runs at `address`."""
    about = "console"
    try:
        with opened(config.shadow.database, config.folder, within / 2) as tables:
            users = count(tables, "SELECT count(*) FROM auth_user") if tables.has("auth_user") else 0
    except (AbsentError, AwayError):
        users = 0
    runs = _answers(address, within / 2)
    if not users:
        return [Finding(about, "note", f"nobody can log in yet; {runs}", "`banyan console` asks for the first user")]
    return [Finding(about, "fine" if runs.startswith("it answers") else "note", f"{users} can log in; {runs}")]


def _answers(address: str, within: float) -> str:
    place = parse_address(address)
    if isinstance(place, str):
        return "not asked"
    connection = http.client.HTTPConnection(*place, timeout=within)
    try:
        connection.request("HEAD", "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return f"it does not run at {address}"
    finally:
        connection.close()
    return f"it answers at {address}" if status < 500 else f"it answers {status} at {address}"
