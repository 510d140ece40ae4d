"""Makes Django usable for the console of a configuration: for its server, and for commands about its users.

Django is imported only after the environment that its settings read is complete.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from gateway.config import Config
from shadow import database


class ConsoleError(Exception):
    """The console can't be used: what, where and what to do."""


def prepare(config: Config) -> None:
    """The database is there with its tables, and Django knows it.

    Raises:
        ConsoleError: it can't be used.
    """
    url = config.shadow.database
    try:
        database.settings(url, config.folder)
        path = database.sqlite_path(url, config.folder)
        database.prepare(url, config.folder)
    except (database.DatabaseURLError, OSError) as error:
        raise ConsoleError(f"{config.path}: shadow.database: {error}") from error
    state = database.state_folder(url, config.folder)
    os.environ["DATABASE_URL"] = f"sqlite:///{quote(str(path))}" if path is not None else url
    os.environ["BANYAN_CONSOLE_CONFIG"] = str(config.path)
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
    os.environ["BANYAN_CONSOLE_STATE"] = str(state)

    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.db import Error

    from shadow import store

    try:
        django.setup()
    except (ImproperlyConfigured, OSError) as error:  # OSError: the key beside the database
        raise ConsoleError(str(error)) from error
    store.close_at_the_end()
    try:
        store.migrate(state)
    except (Error, store.StoreError) as error:
        raise ConsoleError(f"{config.path}: shadow.database: {in_short(error)}") from error


def in_short(error: Exception) -> str:
    """What a database says first."""
    return str(error).strip().partition("\n")[0]
