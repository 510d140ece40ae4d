"""Runs the console: `banyan console`, or `python -m console --config banyan.toml`.

One process that needs nothing prepared: it makes the database file and the tables, sees to the first user, and serves with uvicorn.
Django is imported only after the environment that its settings read is complete.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import uvicorn

from gateway.config import Config, ConfigError, load, parse_address
from shadow import database

_log = logging.getLogger("banyan.console")

DEFAULT_LISTEN = "127.0.0.1:9901"


class ConsoleError(Exception):
    """The console can't be started: what, where and what to do."""


def serve(config: Config, *, sock: socket.socket) -> None:
    """Serves on the listening socket `sock` until SIGTERM or SIGINT.

    BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD, where both are set, name a user who can log in from then on. BANYAN_CONSOLE_ADMIN is
    the address of the gateway's admin port, where [gateway] admin leaves that to the gateway.

    Raises:
        ConsoleError: the database can't be used, or a user can't be made as asked.
    """
    url = config.shadow.database
    try:
        database.settings(url, config.folder)
        path = database.sqlite_path(url, config.folder)
        database.prepare(url, config.folder)
    except (database.DatabaseURLError, OSError) as error:
        raise ConsoleError(f"{config.path}: shadow.database: {error}") from error
    os.environ["DATABASE_URL"] = f"sqlite:///{quote(str(path))}" if path is not None else url
    os.environ["BANYAN_CONSOLE_CONFIG"] = str(config.path)
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
    lock_folder = database.state_folder(url, config.folder)
    os.environ["BANYAN_CONSOLE_STATE"] = str(lock_folder)

    import django
    from django.db import Error

    django.setup()
    from console import watch
    from shadow import store

    try:
        place = os.environ.get("BANYAN_CONSOLE_ADMIN", "")
        parse_address(place or config.gateway.admin)
    except ValueError as error:
        raise ConsoleError(f"BANYAN_CONSOLE_ADMIN: {error}") from error
    try:
        store.migrate(lock_folder)
        _first_user()
    except (Error, store.StoreError) as error:
        raise ConsoleError(f"{config.path}: shadow.database: {str(error).strip().partition('\n')[0]}") from error
    server = uvicorn.Server(
        uvicorn.Config(
            "console.asgi:application",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
    )
    # uvicorn ends on these signals, then raises them again for the handlers that were here before: being asked to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    watching = watch.run(config, address=place)
    try:
        server.run(sockets=[sock])
    finally:
        if not watching.stop():
            _log.warning("the thread that looks at the gateway did not end in time")


def _first_user() -> None:
    """Makes the user whom the environment names, or gives an existing one that password."""
    from django.contrib.auth.models import User
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    name, password = os.environ.get("BANYAN_CONSOLE_USER", ""), os.environ.pop("BANYAN_CONSOLE_PASSWORD", "")
    if bool(name) != bool(password):
        raise ConsoleError("set both BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD, or neither")
    if not name:
        if not User.objects.exists():
            _log.warning("nobody can log in yet: set BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD, and start again")
        return
    try:
        validate_password(password, User(username=name))
    except ValidationError as error:
        raise ConsoleError(f"BANYAN_CONSOLE_PASSWORD: {' '.join(error.messages)} Choose another") from None
    user, made = User.objects.get_or_create(username=name)
    if made or not user.check_password(password):  # an unchanged password keeps its sessions
        user.set_password(password)
        user.is_active = True
        user.save()


def main(arguments: list[str] | None = None) -> int:
    """The command. 2: wrong use."""
    parser = argparse.ArgumentParser(prog="python -m console", description="The pages on which people review the differences.")
    parser.add_argument("--config", type=Path, default=Path("banyan.toml"), help="banyan.toml")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--listen", default=DEFAULT_LISTEN, help=f"host:port, default {DEFAULT_LISTEN}")
    where.add_argument("--fd", type=int, help="an inherited listening socket")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        config = load(options.config)
        sock = socket.socket(fileno=options.fd) if options.fd is not None else _listen(options.listen)
        serve(config, sock=sock)
    except (ConfigError, ConsoleError) as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    return 0


def _listen(address: str) -> socket.socket:
    try:
        place = parse_address(address)
    except ValueError as error:
        raise ConsoleError(f"--listen: {error}") from error
    if isinstance(place, str):
        raise ConsoleError("--listen: the console listens on host:port")
    try:
        return socket.create_server(place, family=socket.AF_INET6 if ":" in place[0] else socket.AF_INET, backlog=128)
    except OSError as error:
        raise ConsoleError(f"cannot listen on {address}: {error.strerror or error}; give another with --listen") from error
