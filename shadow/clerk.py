"""The guard's clerk: `python -m shadow.clerk --config FILE --text FILE`, a child of the supervisor, which touches no database itself.

Once a second it says on standard output how many comparisons of each watched route matched, second by second, whichever worker on whichever
machine compared them; and it keeps what the guard did. A line of JSON each way:

    in   {"watch": {"reviews": 60.0}}                            routes, and how many seconds back
    in   {"trip": {"number": 1, "at": …, "route": …, …}}         to be kept
    out  {"compared": {"reviews": [[1767225600, 12, 1], …]}}     second, matched, mismatched
    out  {"kept": 1}                                             the trip of that number is
    out  {"error": "…"}                                          the database cannot be read or written; it is tried again

It ends with its standard input, so with its parent.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.config import parse, read
from gateway.quick import leave
from shadow import counters, database, logs, store

_log = logging.getLogger("banyan.guard")

NICE = 5
LOOK_SECONDS = 1.0
LATE_SECONDS = 5.0
"""Beyond the window: what is compared is dated by its request."""
LATEST_SECONDS = 3600.0
"""Where comparing lags by more than that, nothing is counted: by then seconds become minutes (shadow.store.roll_up)."""
MAX_WAITING = 1000
"""Lines that came and were not looked at: the parent sends a few an hour."""


class Clerk:
    """What it is told, and says."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._watched: dict[str, float] = {}
        self._waiting: dict[int, dict[str, Any]] = {}
        """Trips that are not kept yet, by number."""

    def told(self, line: str) -> None:
        """A line of the parent's."""
        message = json.loads(line)
        if "watch" in message:
            self._watched = {str(route): float(seconds) for route, seconds in message["watch"].items()}
        if "trip" in message:
            self._waiting[int(message["trip"]["number"])] = message["trip"]

    def look(self, now: float) -> list[dict[str, Any]]:
        """What there is to say.

        Raises:
            django.db.Error: the database refused; what waits is kept the next time.
        """
        said: list[dict[str, Any]] = []
        for number, trip in list(self._waiting.items()):
            keep(self._gateway, trip)
            del self._waiting[number]
            said.append({"kept": number})
        said.append({"compared": compared(self._watched, now)})
        return said


def keep(gateway: str, trip: Mapping[str, Any]) -> None:
    """Keeps what the guard of one run of a gateway did, in the place of what was known of it before."""
    from shadow.models import GuardTrip

    GuardTrip.objects.update_or_create(
        gateway=gateway[:100],
        number=trip["number"],
        defaults={
            "at": trip["at"],
            "route": trip["route"][:100],
            "flag": trip["flag"][:200],
            "reason": trip["reason"][:20],
            "why": store.storable(trip["why"]),
            "figures": store.storable(trip["figures"]),
            "outcome": trip["outcome"][:20],
            "overridden": trip["overridden"],
            "error": store.storable(trip["error"]),
        },
    )


def compared(watched: Mapping[str, float], now: float) -> dict[str, list[tuple[int, int, int]]]:
    """Of each route: (second, matched, mismatched) for the last of them, oldest first. The window ends with the newest request that was
    compared: where comparing lags by more than the window, what there is of it would be in none that ends now."""
    from shadow.models import Tally

    found: dict[str, list[tuple[int, int, int]]] = {}
    for route, seconds in watched.items():
        counts: dict[int, list[int]] = {}
        names = (counters.MATCHED, counters.EXCUSED, counters.MISMATCHED)
        lately = Tally.objects.filter(route=route, width=1, at__gte=int(now - LATEST_SECONDS), name__in=names)
        newest = lately.order_by("-at").values_list("at", flat=True).first()  # the index ends it at the first, where Max looks at all
        rows = lately.filter(at__gte=int(min(now, newest or now) - seconds - LATE_SECONDS))
        for at, name, count in rows.values_list("at", "name", "count"):
            counts.setdefault(at, [0, 0])[name == counters.MISMATCHED] += count
        found[route] = [(at, matched, mismatched) for at, (matched, mismatched) in sorted(counts.items())]
    return found


def _read_all(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)


def run(clerk: Clerk, prepare: Callable[[], None]) -> None:
    """Until standard input ends. `prepare` makes the tables, as soon as there is a database."""
    lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
    threading.Thread(target=_read_all, args=(lines,), name="stdin", daemon=True).start()
    failing, prepared, ending = "", False, False
    while not ending:
        until = time.monotonic() + LOOK_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                ending = True  # after one more look: what was told in the last second is to be kept
                break
            clerk.told(line)
        said: Sequence[Mapping[str, Any]]
        try:
            store.renew_connection()
            if not prepared:
                prepare()
                prepared = True
            said, failing = clerk.look(time.time()), ""
        except (OSError, *store.FAILURES) as error:
            why = str(error).strip().partition("\n")[0]
            if why != failing:
                _log.error("guard: the database cannot be used (%s): no mismatches are watched, and trips wait in memory", why)
            failing = why
            said = [{"error": why}]
        for each in said:
            print(json.dumps(each))
        sys.stdout.flush()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m shadow.clerk", description="Counts comparisons for the guard, and keeps what it did.")
    parser.add_argument("--config", type=Path, required=True, help="banyan.toml")
    parser.add_argument("--text", type=Path, required=True, help="a file that holds what --config held when it was validated")
    parser.add_argument("--gateway", required=True, help="names this run of the gateway")
    options = parser.parse_args()
    logs.begin("clerk", logging.INFO)
    os.nice(NICE)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    config = parse(options.config, read(options.text))
    url = config.shadow.database
    store.setup(url, config.folder)
    try:
        run(Clerk(options.gateway), lambda: store.migrate(database.state_folder(url, config.folder)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the parent is gone: there is nobody to tell
    return 0


if __name__ == "__main__":
    leave(main())
