"""What the verbs of payments share: the ledger, and how a doubt is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.ledger.database import Connection
    from gateway.ledger.entries import Doubt
    from gateway.settings import Config

ConfigFile = Annotated[Path, Parameter(name="--config", help="The configuration.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")]
SECONDS = 5.0
"""That the ledger is waited for."""


class NothingPaidError(RefusalError):
    """The ledger is made with the first gateway that keeps one, and was not made yet: there is nothing in it."""


@contextmanager
def opened(config: Path, route: str = "") -> Iterator[Connection]:
    """The ledger. `route`: only this one is asked for, and keeps it; "": all.

    Raises:
        NothingPaidError: there is none yet.
        RefusalError: no such route keeps one, or it cannot be used.
    """
    from gateway.ledger.database import AwayError, connect
    from shadow.database import sqlite_path

    loaded = load_config(config)
    if not loaded.ledgered:
        raise RefusalError(f'{config}: no route keeps a ledger: write sticky = "idempotency-key" to a route with split')
    known_route(loaded, route)
    path = sqlite_path(loaded.ledger.database, loaded.folder)
    try:
        if path is not None:
            path.stat()  # not `exists`, to which a folder that may not be looked into is an empty one
    except FileNotFoundError:
        raise NothingPaidError(f"nothing was paid yet: there is no {path}. `banyan run` makes it") from None
    except OSError as error:
        raise RefusalError(f"{config}: ledger.database cannot be used: {path}: {error.strerror}") from error
    try:
        ledger = connect(loaded.ledger.database, loaded.folder, timeout=SECONDS)
        try:
            yield ledger
        finally:
            ledger.close()
    except AwayError as error:
        raise RefusalError(f"{config}: ledger.database cannot be used: {error}") from error


def known_route(loaded: Config, route: str) -> None:
    """
    Raises:
        RefusalError: no route of this name keeps a ledger.
    """
    if route and route not in loaded.ledgered:
        raise RefusalError(f"{loaded.path}: no route {route!r} keeps a ledger; there are: {', '.join(loaded.ledgered)}")


def plain(doubt: Doubt) -> dict[str, Any]:
    """For machines."""
    return {**asdict(doubt), "refused": list(doubt.refused)}


def words(doubt: Doubt) -> str:
    """One line, with what it takes to find out."""
    from gateway.cli.flags.shown import plain as readable

    key = f"Idempotency-Key {doubt.key}" if doubt.key else "no Idempotency-Key"
    sent = "sent once" if doubt.attempts == 1 else f"sent {doubt.attempts} times"
    status = f" (it answered {doubt.status})" if doubt.status else ""
    refused = f", after {', '.join(doubt.refused)} got nothing of it" if doubt.refused else ""
    ids = f"{key}; X-Request-ID {doubt.request_id}; {doubt.size} bytes, digest {doubt.digest[:16]}"
    return readable(f"{doubt.method} {doubt.target} to {doubt.provider}, {sent}{refused}: {doubt.reason}{status}; {ids}")
