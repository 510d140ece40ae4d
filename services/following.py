"""How a service is kept in step with the shop: a copy of it, then the events that follow the copy; and whether it is in step.

`import` copies, `follow` applies events, `parked` and `redrive` see to those that could not be applied, `check` compares both stores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.envelope import PARTITIONS
from events.inbox import SCHEMA, Effect, Inbox, InboxError, begin_anew, now
from events.outbox.rows import SQLITE_TABLE
from events.sqlite_store import SqliteStore, alone, execute_on
from services.database import Table, fill
from services.drift import Drift, compare
from services.shop import open_shop

SHOP: Final = "shop"
"""The store that is followed, as it calls itself in its events."""


@dataclass(frozen=True, slots=True)
class Following:
    """Of one service."""

    effect: Effect
    derive: Callable[[sqlite3.Connection], None] = lambda connection: None
    """What is made of a new copy, in its transaction."""
    writes: bool = False
    """It is written to, and may be asked to tell the shop (`import --outbox`)."""

    def add_verbs(self, verbs: argparse._SubParsersAction[argparse.ArgumentParser], importing: argparse.ArgumentParser) -> None:
        """Those beside import and serve."""
        importing.add_argument(
            "--nats", default="", metavar="URL[,URL]", help="begin to follow where the stream ends now; without: where it begins"
        )
        if self.writes:
            importing.add_argument(
                "--outbox", action="store_true", help="from now on, what is written here is told to the shop (python -m events relay)"
            )
        follow = verbs.add_parser("follow", help="apply the shop's events", epilog="example: … follow --nats nats://127.0.0.1:4222")
        follow.add_argument("--nats", required=True, metavar="URL[,URL]")
        follow.add_argument("--metrics", default="", metavar="HOST:PORT", help="answer GET /metrics there; port 0: a free one")
        verbs.add_parser("parked", help="list the events that could not be applied, as JSON")
        redrive = verbs.add_parser("redrive", help="try parked events again; exit status 1: some are parked still")
        redrive.add_argument("--event", default="", metavar="ID", help="this one, and those of its key behind it; default: all")
        redrive.add_argument("--discard", default="", metavar="ID", help="give this one up instead: nothing will be seen of it")
        check = verbs.add_parser("check", help="compare with the shop's own tables; exit status 1: they differ")
        check.add_argument("--from", dest="shop", required=True, metavar="URL", help="the shop's DATABASE_URL; it is only read")
        check.add_argument("--settle", type=float, default=2.0, metavar="SECONDS", help="how long an event may be on its way; default: 2")
        check.add_argument("--json", action="store_true", help="for machines")

    def copy(self, name: str, database: Path, tables: Sequence[Table], options: argparse.Namespace) -> dict[str, int]:
        """The import. The stream's end is read first: what is in it by then was committed, and so is in the copy."""
        stream, begin = _end_of(options.nats) if options.nats else ("", 0)
        as_of = now()
        with open_shop(options.shop) as shop:

            def beside(connection: sqlite3.Connection) -> None:
                for statement in SCHEMA:
                    connection.execute(statement)
                if self.writes and options.outbox:
                    connection.execute(SQLITE_TABLE)
                self.derive(connection)
                sequences = {number: begin for number in range(PARTITIONS) if begin}
                begin_anew(execute_on(connection), name, shop.position(), sequences, as_of, stream)

            return fill(database, tables, shop, beside)

    def run(self, name: str, database: Path, tables: Sequence[Table], options: argparse.Namespace) -> int:
        """One of the verbs; returns the exit status."""
        if options.verb == "check":
            return _check(name, database, tables, options)
        if not database.exists():  # nor would a later try find it
            command = f"python -m services.{name} import --from URL"
            print(f"{name}: {database}: there is no such file; fill it with `{command}`", file=sys.stderr)
            return 2
        if options.verb == "follow":
            with alone(database.with_name(f"{database.name}.follow")):
                return self._follow(name, database, options)
        with closing(SqliteStore(database)) as store:
            inbox = Inbox(store, name, self.effect)
            if options.verb == "parked":
                for one in inbox.parked():
                    print(
                        json.dumps({"event": one.event_id, "key": one.key, "reason": one.reason, "tries": one.tries, "at": one.parked_at})
                    )
                return 0
            if options.discard:
                found = inbox.discard(options.discard)
                print(f"{name}: {'given up' if found else 'not parked'}: {options.discard}")
                return 0 if found else 1
            done, left = inbox.redrive(options.event)
            print(f"{name}: {done} took effect, {left} are parked")
            return 1 if left else 0

    def _follow(self, name: str, database: Path, options: argparse.Namespace) -> int:
        # Imported where they are used: a service that answers requests needs neither NATS nor Prometheus.
        from events.consumer import Consumer
        from events.metrics import ConsumerMetrics
        from events.running import run
        from events.standing import service_command
        from events.stream import stream_at

        metrics, redrive = ConsumerMetrics(), service_command(name)
        with closing(SqliteStore(database)) as store, ThreadPoolExecutor(1, thread_name_prefix="inbox") as thread:
            # What this service has told comes back by the shop, and is applied as all else: it is there already, and the same. After an
            # import it may not be.
            consumer = Consumer(Inbox(store, name, self.effect), SHOP, stream_at(options.nats), metrics, thread, redrive)
            return run(name, [consumer.run()], metrics.registry, options.metrics, consumer.standing.plain)


def _end_of(servers: str) -> tuple[str, int]:
    from events.stream import end, stream_at  # as above
    from shadow.broker import TROUBLE, reason

    try:
        return asyncio.run(end(stream_at(servers)))
    except TROUBLE as error:
        raise InboxError(f"NATS can't be used: {reason(error)}") from error


def _check(name: str, database: Path, tables: Sequence[Table], options: argparse.Namespace) -> int:
    found = compare(database, tables, lambda: open_shop(options.shop), options.settle)
    if options.json:
        print(json.dumps({"service": name, "equal": not any(found), "drift": [drift.plain() for drift in found]}))
    else:
        _tell(name, found)
    return 1 if any(found) else 0


def _tell(name: str, found: Sequence[Drift]) -> None:
    for drift in found:
        print(f"{name}: {drift.table}: {drift.compared} rows, {drift.words()}", file=sys.stderr if drift else sys.stdout)
