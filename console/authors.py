"""Names who made the changes that were stored without a name, by asking Unleash for its events."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from django.db import Error as DatabaseError
from django.db import connection

from console.told import Told
from flags import events
from flags.events import EventLog, EventsError
from gateway.config import Config
from shadow import store

if TYPE_CHECKING:
    from shadow.models import FlagChange

INTERVAL: Final = 1.0
"""Seconds between two looks at whether there is something to ask."""
MAX_WAITING: Final = 1000
"""Changes whose author is still to be asked for; more push the oldest out, who stays unnamed."""
TRIES: Final = 3
"""Answers without a fitting event, before a change stays unnamed."""
PATIENCE: Final = 3600.0
"""Seconds for which a change waits for an Unleash that can't be asked."""
_WAITS: Final = (1.0, 60.0)


class Authors:
    """One request at a time, and none while every change has its name. `add` may be called from any thread; the naming is one thread's."""

    def __init__(self, config: Config) -> None:
        flags = config.flags
        token = flags.admin_token.get_secret_value()
        self._environment = flags.environment
        self._log = EventLog(flags.url, token) if flags.source == "unleash" and token else None
        self._waiting: OrderedDict[int, tuple[FlagChange, int]] = OrderedDict()
        """Row's key → the row, and how many answers had nothing of it."""
        self._taken: dict[str, set[int]] = {}
        """Flag → the events behind its last change."""
        self._begun = False
        self._next = 0.0
        self._wait = _WAITS[0]
        self._told = Told()
        self._arrived: deque[FlagChange] = deque(maxlen=MAX_WAITING)
        """Added, and not yet seen by the thread that names."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flag-authors", daemon=True)

    def start(self) -> None:
        """Begins to name, where there is an Unleash to ask."""
        if self._log is not None:
            self._thread.start()

    def end(self) -> None:
        """Nothing more is asked."""
        self._ending.set()

    def ended(self, seconds: float) -> bool:
        """Whether the thread has come to its end within `seconds`: what it is asking has a deadline (flags.events)."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._once()
                self._ending.wait(INTERVAL)
        finally:
            self.close()
            connection.close()

    def _once(self) -> None:
        """Nothing that happens in it may end the thread."""
        try:
            self.name()
        except DatabaseError as error:
            store.renew_connection()
            self._told.once("database", f"who changed a flag can't be kept ({str(error).strip().partition('\n')[0]}); it is tried again")
        except Exception as error:
            self._told.failed("naming who changed a flag", error)
        else:
            self._told.well("database")
            self._told.well("naming")

    def close(self) -> None:
        """Closes its connections."""
        if self._log is not None:
            self._log.close()

    def add(self, rows: list[FlagChange]) -> None:
        """Takes new changes; those that need no name are left out."""
        if self._log is None:
            return
        for row in rows:
            # What is the same before and after has changed elsewhere: in a segment, say. That is none of the flag's events.
            if row.kind == row.Kind.FLAG and not row.by and row.source == "unleash" and row.old != row.new:
                self._arrived.append(row)

    def _take_in(self) -> None:
        while self._arrived:
            row = self._arrived.popleft()
            self._waiting.setdefault(row.pk, (row, 0))
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def name(self) -> None:
        """Asks for some of those that wait, if it is time.

        Raises:
            django.db.Error: the database refused; the same are asked for again.
        """
        if self._log is None:
            return
        if not self._begun:
            self.add(_unnamed(time.time() - PATIENCE))
            self._begun = True
        self._take_in()
        if not self._waiting or time.monotonic() < self._next:
            return
        rows = [row for row, _ in self._waiting.values()]
        flags = list(dict.fromkeys(row.flag for row in rows))[: events.MAX_FLAGS]
        asked = [row for row in rows if row.flag in flags]
        since = min(row.at if row.after is None else row.after for row in asked) - events.PUBLISHED_SECONDS
        try:
            found = self._log.of(flags, since)
        except EventsError as error:
            self._next = time.monotonic() + self._wait
            self._wait = min(2 * self._wait, _WAITS[1])
            self._told.once(f"unleash {error.kind}", f"who changed a flag can't be told: {error}")
            for row in asked:
                if row.at < time.time() - PATIENCE:
                    del self._waiting[row.pk]
            return
        self._wait = _WAITS[0]
        self._next = time.monotonic() + self._wait
        self._told.well("unleash ")
        for row in asked:
            self._match(row, found)

    def _match(self, row: FlagChange, found: list[events.Event]) -> None:
        enabled = None if row.new is None else bool(row.new.get("enabled"))
        made = events.behind(
            found,
            flag=row.flag,
            environment=self._environment,
            before=row.after,
            at=row.at,
            enabled=enabled,
            taken=self._taken.get(row.flag, ()),
        )
        by = events.authors(made)
        if by:
            type(row).objects.filter(pk=row.pk, by="").update(by=by[:400])
            self._taken[row.flag] = {event.number for event in made}
            del self._waiting[row.pk]
        else:
            _, tries = self._waiting[row.pk]
            self._waiting[row.pk] = (row, tries + 1)
            if tries + 1 >= TRIES:
                del self._waiting[row.pk]


def _unnamed(since: float) -> list[FlagChange]:
    """Changes that were stored before this console was started, and not named."""
    from shadow.models import FlagChange

    found = FlagChange.objects.filter(kind=FlagChange.Kind.FLAG, by="", source="unleash", at__gte=since)
    return list(found.order_by("pk")[:MAX_WAITING])
