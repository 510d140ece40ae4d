"""The ledger, as the console's pages and threads read it: a connection of its own for each look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.http import HttpRequest

from console import configured
from gateway.config import Config, ConfigError
from gateway.ledger.database import Connection, connect
from shadow.database import sqlite_path

SECONDS: Final = 2.0
"""That a page waits for it."""


class NoLedgerError(Exception):
    """No route keeps one, or nothing was ever written in it."""


@contextmanager
def opened(config: Config | None) -> Iterator[Connection]:
    """The ledger of the routes in `config`.

    Raises:
        NoLedgerError: there is none.
        gateway.ledger.database.AwayError: it cannot be used now.
    """
    if config is None or not config.ledgered:
        raise NoLedgerError
    url = config.ledger.database
    path = sqlite_path(url, config.folder)
    if path is not None and not path.exists():  # it is the gateway's to make
        raise NoLedgerError
    ledger = connect(url, config.folder, timeout=SECONDS)
    try:
        yield ledger
    finally:
        ledger.close()


def context(_request: HttpRequest) -> dict[str, Any]:
    """For templates: whether there is a page of payments to be led to."""
    try:
        config = configured.configuration()
    except (ConfigError, OSError):  # the pages that show routes say so
        config = None
    return {"ledgered": config is not None and bool(config.ledgered)}
