"""`python -m services.psp serve --name psp-a --port 8201`

Exit status: 0 fine, 1 the ledger cannot be used, 2 wrong use. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from services.psp import faults
from services.psp.door import BACKLOG, Door, Server, doorman
from services.psp.faults import Plan, UnknownFaultError
from services.psp.ledger import Ledger
from services.psp.service import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves; returns the exit status."""
    options = _parser().parse_args(arguments)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", options.name):
        print(f"psp: {options.name!r} can be no provider's name: lower-case letters, digits, '.', '_' and '-'", file=sys.stderr)
        return 2
    try:
        plan = faults.parse(os.environ.get("BANYAN_PSP_FAULTS", ""))
    except UnknownFaultError as error:
        print(f"psp: BANYAN_PSP_FAULTS: {error}", file=sys.stderr)
        return 2
    path = Path(os.environ.get("BANYAN_PSP_DB") or f"var/{options.name}.sqlite3")
    try:
        ledger = Ledger(path, options.name)
    except (sqlite3.Error, OSError) as error:
        print(f"psp: {path} cannot be used: {error}", file=sys.stderr)
        return 1
    try:
        sock = socket.socket(fileno=options.fd) if options.fd is not None else socket.create_server((options.host, options.port))
    except (OSError, OverflowError) as error:
        place = f"--fd {options.fd}" if options.fd is not None else f"{options.host}:{options.port}"
        print(f"psp: can't listen on {place}: {error}", file=sys.stderr)
        return 2
    _serve(options.name, ledger, plan, sock)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.psp",
        description="A stand-in payment provider. Its ledger is the file BANYAN_PSP_DB, else var/NAME.sqlite3. BANYAN_PSP_FAULTS "
        f"says how it fails: FAULT@WHICH, separated by commas; FAULT being one of {', '.join(faults.Fault)}; WHICH is * for all payments, "
        "2%% for a share of them, or the Idempotency-Key of one; refuse@5s is a time. PUT /faults changes it.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    serving = verbs.add_parser("serve", help="answer requests", epilog="example: … serve --name psp-a --port 8201")
    serving.add_argument("--name", required=True, help="told in every payment, and part of its id")
    where = serving.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="listen here")
    where.add_argument("--fd", type=int, help="a listening socket that was inherited")
    serving.add_argument("--host", default="127.0.0.1", help="with --port; default: %(default)s")
    return parser


def _serve(name: str, ledger: Ledger, plan: Plan, sock: socket.socket) -> None:
    door = Door(plan)
    config = uvicorn.Config(
        build(name, ledger, door),
        http=doorman(door),
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=75,  # longer than the gateway keeps an idle connection: it must be the one that closes
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = Server(config, door, sock)
    # After it has drained, uvicorn raises the signal that stopped it once more. A service that was asked to end and did has not failed.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server.run(sockets=[sock])


if __name__ == "__main__":
    sys.exit(main())
