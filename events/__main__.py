"""`python -m events relay`: publishes the outbox of one store.

Exit status: 0 it was told to end, 1 it broke, 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from events.address import AddressError, require_postgres
from events.envelope import PARTITIONS
from events.metrics import RelayMetrics
from events.outbox import EXPECTED, kind_of, open_outbox
from events.relay import Relay
from events.running import run
from events.stream import stream_at


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    store = options.store or os.environ.get("DATABASE_URL", "")
    if not store:
        print("relay: --store or DATABASE_URL names the store's database", file=sys.stderr)
        return 2
    kind = kind_of(store)
    if not kind:
        print(f"relay: --store or DATABASE_URL: {EXPECTED}", file=sys.stderr)  # it may hold a password, and is not repeated
        return 2
    open_it = lambda: open_outbox(store)  # noqa: E731 - one of two
    if options.tail:
        if kind != "postgres":
            print("relay: --from log needs a PostgreSQL with wal_level = logical", file=sys.stderr)
            return 2
        if len(options.partitions) < PARTITIONS:
            print(
                "relay: --from log publishes all partitions: one slot has them all, and --partitions is for --from table", file=sys.stderr
            )
            return 2
        from events.outbox.log import LogOutbox

        open_it = lambda: LogOutbox(store)  # noqa: E731 - as above
    try:
        if store.startswith("postgres"):
            require_postgres(store)
        stream = stream_at(options.nats, options.replicas)
    except AddressError as error:
        print(f"relay: {error}", file=sys.stderr)
        return 2
    metrics = RelayMetrics()
    relay = Relay(open_it, stream, metrics, options.partitions, store=name_of(store))
    return run("relay", [relay.run()], metrics.registry, options.metrics, relay.standing.plain)


def name_of(store: str) -> str:
    """Of the database at that URL, which itself may hold a password."""
    try:
        return PurePosixPath(urlsplit(store).path).name
    except ValueError:  # libpq reads more than urlsplit does
        return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m events", description="Moves what changed in one store to those that follow it.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    relay = verbs.add_parser(
        "relay",
        help="publish the outbox of a store; several may run: each partition is published by one of them",
        epilog="example: python -m events relay --store postgres://shop@db/shop --nats nats://127.0.0.1:4222",
    )
    relay.add_argument("--store", metavar="URL", help="the store's database; default: DATABASE_URL")
    relay.add_argument("--nats", required=True, metavar="URL[,URL]", help="nats://host:port, or several of one cluster")
    relay.add_argument(
        "--from",
        dest="tail",
        type=_tail,
        default=False,
        metavar="table|log",
        help="poll the table (default), or tail the log of a PostgreSQL with wal_level = logical",
    )
    relay.add_argument(
        "--partitions",
        type=_partitions,
        default=tuple(range(PARTITIONS)),
        metavar="N[,N]",
        help="which to publish, of the table; default: all",
    )
    relay.add_argument("--replicas", type=int, default=1, help="of the stream, where this makes it: 3 in a cluster; default: 1")
    relay.add_argument("--metrics", default="", metavar="HOST:PORT", help="answer GET /metrics there; port 0: a free one")
    return parser


def _tail(text: str) -> bool:
    if text not in ("table", "log"):
        raise argparse.ArgumentTypeError("table or log")
    return text == "log"


def _partitions(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or not all(0 <= number < PARTITIONS for number in found):
        raise argparse.ArgumentTypeError(f"numbers from 0 to {PARTITIONS - 1}")
    return found


if __name__ == "__main__":
    sys.exit(main())
