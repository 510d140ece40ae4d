"""`python -m services.<name> import --from URL` and `… serve --port N`: the command line of every service.

Exit status: 0 fine, 1 the import failed, 2 wrong use. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from events.address import AddressError
from events.inbox import InboxError
from services import faults
from services.database import DatabaseError, Pool, Table, fill
from services.faults import Fault
from services.following import Following
from services.shop import ShopError, open_shop
from services.stamp import Verifier
from services.stamp.keys import KeyTextError


@dataclass(frozen=True, slots=True)
class Service:
    """What tells one service from another."""

    name: str
    tables: Sequence[Table]
    build: Callable[[Pool, frozenset[Fault], Verifier], Starlette]
    following: Following | None = None
    """How it is kept in step with the shop; None: by imports alone."""

    @property
    def variable(self) -> str:
        """The environment variable that names its database file."""
        return f"BANYAN_{self.name.upper()}_DB"

    @property
    def database(self) -> Path:
        return Path(os.environ.get(self.variable) or f"var/{self.name}.sqlite3")


def main(service: Service, arguments: Sequence[str] | None = None) -> int:
    """Runs one of the verbs; returns the exit status."""
    options = _parser(service).parse_args(arguments)
    try:
        if options.verb == "import":
            return _import(service, options)
        if options.verb != "serve" and service.following is not None:
            return service.following.run(service.name, service.database, service.tables, options)
        return _serve(service, options.fd, options.host, options.port)
    except (DatabaseError, ShopError, InboxError) as error:
        print(f"{service.name}: {error}", file=sys.stderr)
        return 1
    except (faults.UnknownFaultError, KeyTextError, AddressError) as error:
        print(f"{service.name}: {error}", file=sys.stderr)
        return 2


def _parser(service: Service) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service.name}",
        description=f"The {service.name} service. Its database is the file that {service.variable} names, else {service.database}. Behind "
        "a gateway with [identity] stamp, BANYAN_STAMP_KEYS (its secret or its public key) or BANYAN_STAMP_JWKS (such as "
        "http://127.0.0.1:9900/jwks) says how stamps are verified, and what is not stamped is refused; without them reading is open and "
        "nobody can write.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    importing = verbs.add_parser(
        "import", help="make the database equal to the shop's", epilog="example: … import --from sqlite:///var/shop.sqlite3"
    )
    importing.add_argument("--from", dest="shop", required=True, metavar="URL", help="the shop's DATABASE_URL; it is only read")
    if service.following is not None:
        service.following.add_verbs(verbs, importing)
    serving = verbs.add_parser("serve", help="answer requests", epilog="example: BANYAN_FAULTS=rounded_average … serve --port 8101")
    where = serving.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="listen here")
    where.add_argument("--fd", type=int, help="a listening socket that was inherited")
    serving.add_argument("--host", default="127.0.0.1", help="with --port; default: %(default)s")
    return parser


def _import(service: Service, options: argparse.Namespace) -> int:
    if service.following is not None:
        counts = service.following.copy(service.name, service.database, service.tables, options)
    else:
        with open_shop(options.shop) as shop:
            counts = fill(service.database, service.tables, shop)
    print(f"{service.name}: {', '.join(f'{count} {name}' for name, count in counts.items())} in {service.database}")
    return 0


def _serve(service: Service, fd: int | None, host: str, port: int | None) -> int:
    on = faults.parse(os.environ.get("BANYAN_FAULTS", ""), service.name)
    verifier = Verifier.from_environment(service.name)
    try:
        pool = Pool(service.database)
        pool.require(service.tables)
    except DatabaseError as error:
        raise DatabaseError(f"{error}; fill it with `python -m services.{service.name} import --from URL`") from error
    try:
        sock = socket.socket(fileno=fd) if fd is not None else socket.create_server((host, port or 0))
    except (OSError, OverflowError) as error:
        place = f"--fd {fd}" if fd is not None else f"{host}:{port}"
        print(f"{service.name}: can't listen on {place}: {error}", file=sys.stderr)
        return 2
    config = uvicorn.Config(
        service.build(pool, on, verifier),
        access_log=False,
        log_level="warning",
        # The gateway keeps idle connections for seconds; it must be the one that closes them.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    # After it has drained, uvicorn raises the signal that stopped it once more. A service that was asked to end and did has not failed.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    uvicorn.Server(config).run(sockets=[sock])
    return 0
