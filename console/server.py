"""Runs the console: `banyan console`, or `python -m console --config banyan.toml`.

One process that needs nothing prepared: it makes the database file and the tables, sees to the first user, and serves with uvicorn.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from console.prepare import ConsoleError, in_short, prepare
from gateway.config import Config, ConfigError, load, parse_address
from gateway.settings.console import addresses
from shadow import logs

_log = logging.getLogger("banyan.console")

DEFAULT_LISTEN = "127.0.0.1:9901"


def serve(config: Config, *, sock: socket.socket) -> None:
    """Serves on the listening socket `sock` until SIGTERM or SIGINT.

    For the first user see console.people.first_user. BANYAN_CONSOLE_ADMIN is the address of the gateway's admin port, where [gateway] admin
    leaves that to the gateway; or several, separated by commas.

    Raises:
        ConsoleError: the database can't be used, or a user can't be made as asked.
    """
    prepare(config)
    from django.db import Error

    from console import people, watch

    try:
        named = os.environ.get("BANYAN_CONSOLE_ADMIN", "")
        places = addresses([place.strip() for place in named.split(",")]) if named else []
    except ValueError as error:
        raise ConsoleError(f"BANYAN_CONSOLE_ADMIN: {error}") from error
    try:
        people.first_user(lambda message: _log.warning("%s", message))
    except Error as error:
        raise ConsoleError(f"{config.path}: shadow.database: {in_short(error)}") from error
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
    watching = watch.run(config, places)
    try:
        server.run(sockets=[sock])
    finally:
        if not watching.stop():
            _log.warning("the thread that looks at the gateway did not end in time")


def main(arguments: list[str] | None = None) -> int:
    """The command. 2: wrong use."""
    parser = argparse.ArgumentParser(prog="python -m console", description="The pages on which people review the differences.")
    parser.add_argument("--config", type=Path, default=Path("banyan.toml"), help="banyan.toml")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--listen", default=DEFAULT_LISTEN, help=f"host:port, default {DEFAULT_LISTEN}")
    where.add_argument("--fd", type=int, help="an inherited listening socket")
    options = parser.parse_args(arguments)
    logs.begin("console", logging.INFO)
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
