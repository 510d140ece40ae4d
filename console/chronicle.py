"""Writes down for the timeline what nobody else keeps: reloads, bursts of requests that were turned away, and gates that turn.

A thread of its own, beside the one that looks at flags (console.watch): judging every gate takes longer than a look. Several consoles may
write the same; each event has a key that all of them find, so that it is kept once. What goes wrong is told once for each cause, and tried
again. The same thread removes what is too old.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.sessions.models import Session
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from console import audit, configured, limits, payments
from console.admin_port import AdminPort, GatewayError
from console.told import Told
from gateway.config import Config, ConfigError
from gateway.ledger import book
from gateway.ledger.database import AwayError
from gateway.ledger.entries import Doubt, Settled
from shadow import events, report, store
from shadow.gate import GateResult
from shadow.models import Event
from shadow.words import percent

INTERVAL: Final = 5.0
"""Seconds between two looks at the gateway."""
GATES_INTERVAL: Final = 15.0
"""Seconds between two judgements of all gates; more where they take long, for the pages are served by the same process."""
GATES_SHARE: Final = 0.05
"""Of the time, for judging them."""
UPKEEP_INTERVAL: Final = 600.0
OVERLAP_SECONDS: Final = 60.0
"""What came into the ledger so long before the last look is looked at again: gateways' clocks differ, and commits come late."""
QUIET_SECONDS: Final = 60.0
"""A burst is over when nothing was turned away for so long."""
TURNED_AWAY: Final = ("429", "503")
"""The gateway's own answers to whom it has no room for: a rate limit; shed, or nobody there to decide."""
_NO_CHANGES: Final = 2**62
"""The number of no change: what is asked for after it is only which run of a gateway this is."""
_SILENT: Final = ("away", "closed", "unknown", "large")
"""Kinds of silence which the other thread tells of."""


@dataclass(slots=True)
class _Burst:
    """Requests of one route that were turned away, one soon after the other."""

    key: str
    began: dict[str, int]
    """The counts before it."""
    last: float
    """When a count last rose."""


class Chronicle:
    """The thread. `start` it, `end` it, and see whether it has `ended`."""

    def __init__(self, config: Config, address: str) -> None:
        self._config = config
        self._address = address
        self._port: AdminPort | None = None
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        """(run of the gateway, route) → what was turned away by the last look."""
        self._bursts: dict[tuple[str, str], _Burst] = {}
        self._doubted = 0.0
        """The moment, by the ledger, up to which payments in doubt are written down."""
        self._settled = 0.0
        self._told_of: set[int] = set()
        """Payments that the last look has found; what is older is not asked for any more."""
        self._next_gates = 0.0
        self._next_upkeep = 0.0
        self._told = Told()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chronicle", daemon=True)

    def start(self) -> None:
        """Begins with a look at once."""
        self._thread.start()

    def end(self) -> None:
        """Nothing more is looked at."""
        self._ending.set()

    def ended(self, seconds: float) -> bool:
        """Whether the thread has come to its end within `seconds`."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def close(self) -> None:
        """Closes its connections."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._once(time.time())
                self._ending.wait(INTERVAL)
        finally:
            self.close()
            connection.close()

    def _once(self, now: float) -> None:
        """One look. Nothing that happens in it may end the thread."""
        looks = (("the gateway", self._gateway), ("gates", self._gates), ("payments", self._payments), ("what is too old", self._upkeep))
        for what, look in looks:
            try:
                look(now)
            except GatewayError as error:
                if error.kind not in _SILENT:
                    self._told.once(f"{what} {error.kind}", f"the timeline has nothing of the gateway at {self._address}: {error}")
            except (ConfigError, OSError) as error:
                self._told.once(f"{what} configuration", f"the timeline has no gates: {error}")
            except AwayError as error:
                self._told.once(f"{what} ledger", f"the timeline has no payments in doubt: the ledger cannot be read ({error})")
            except DatabaseError as error:
                store.renew_connection()
                self._told.once(
                    f"{what} database", f"the timeline can't be written ({str(error).strip().partition('\n')[0]}); it is tried again"
                )
            except Exception as error:
                self._told.failed(f"writing the timeline: {what}", error)
            else:
                self._told.well(what, f"the timeline is written again: {what}")

    # The gateway

    def _gateway(self, now: float) -> None:
        port = self._port = self._port or AdminPort(self._address)
        run = port.changes(_NO_CHANGES).gateway
        self._reload(port, run)
        self._turned_away(port, run, now)

    def _reload(self, port: AdminPort, run: str) -> None:
        """The newest reload, or the start where there was none since."""
        state = port.config()
        last = state.last_reload
        if last is None:
            events.record(Event.Kind.RELOAD, state.loaded_at, "the gateway was started", detail={"ok": True}, key=f"{run} start")
            return
        text = f"configuration {state.number} is in force" if last.ok else f"refused; configuration {state.number} serves on"
        detail = {"ok": last.ok, "number": state.number, "asked_by": last.why, "why": last.error or f"by {last.why}"}
        events.record(Event.Kind.RELOAD, last.at, text, detail=detail, key=f"{run} {last.at!r}")

    def _turned_away(self, port: AdminPort, run: str, now: float) -> None:
        """Of each route one event for a burst, which says how many there were as it goes on."""
        for route in port.routes().routes:
            place = (run, route.name)
            counts = {status: route.answered.get(f"gateway {status}", 0) for status in TURNED_AWAY}
            before = self._counts.get(place)
            if before is None:
                before = self._resumed(place, counts)
            self._counts[place] = counts
            if sum(counts.values()) <= sum(before.values()):
                continue
            burst = self._bursts.get(place)
            if burst is None or now - burst.last > QUIET_SECONDS:
                burst = self._bursts[place] = _Burst(f"{run} {route.name} {sum(before.values())}", before, now)
            burst.last = now
            self._tell(burst, route.name, counts, now)
        for place in [place for place in self._counts if place[0] != run]:  # the gateway was started anew
            self._counts.pop(place)
            self._bursts.pop(place, None)

    def _resumed(self, place: tuple[str, str], counts: dict[str, int]) -> dict[str, int]:
        """The counts up to which all is written down, by this console or another; those of now where nothing is."""
        run, route = place
        row = Event.objects.filter(kind=Event.Kind.SHED, route=route, key__startswith=f"{run} ").order_by("-at", "-pk").first()
        if row is None:
            return counts
        self._bursts[place] = _Burst(row.key, row.detail["began"], row.detail["last"])
        return {status: int(row.detail["counts"].get(status, 0)) for status in TURNED_AWAY}

    def _tell(self, burst: _Burst, route: str, counts: dict[str, int], now: float) -> None:
        more = {status: counts[status] - burst.began.get(status, 0) for status in TURNED_AWAY}
        total = sum(more.values())
        each = ", ".join(f"{count} with {status}" for status, count in more.items() if count)
        text = f"{total} request{'' if total == 1 else 's'} turned away: {each}"
        detail: dict[str, Any] = {"count": total, "began": burst.began, "counts": counts, "last": now}
        if events.record(Event.Kind.SHED, now, text, route=route, detail=detail, key=burst.key):
            return
        told = Event.objects.values_list("detail", flat=True).get(kind=Event.Kind.SHED, key=burst.key)
        if total > told.get("count", 0):
            events.amend(Event.Kind.SHED, burst.key, text, detail)

    # Gates

    def _gates(self, now: float) -> None:
        """An event for each gate that is not as it was last written down; a gate of which nothing is was not passed."""
        if time.monotonic() < self._next_gates:
            return
        began = time.monotonic()
        self._next_gates = began + GATES_INTERVAL
        config = configured.configuration() or self._config
        terms = {route.name: route.gate for route in config.routes if not route.split}
        if not terms:
            return
        known = self._known(list(terms))
        judged = report.gates(terms, now)
        self._next_gates = max(self._next_gates, began + (time.monotonic() - began) / GATES_SHARE)
        for name, (_counted, result) in judged.items():
            number, passed = known.get(name, (0, False))
            if result.passed != passed:
                detail = {"passed": result.passed, "why": "; ".join(result.reasons), "compared": result.compared, "matched": result.matched}
                events.record(Event.Kind.GATE, now, _gate_text(result), route=name, detail=detail, key=f"{events.TURN}{number} {name}")

    def _known(self, names: list[str]) -> dict[str, tuple[int, bool]]:
        """Of each route the last turn of its gate that is written down, and whether it was passed then. Two queries."""
        turns = Event.objects.filter(kind=Event.Kind.GATE, route__in=names, key__startswith=events.TURN)
        newest = [last for _name, last in turns.values_list("route").annotate(last=Max("pk")).values_list("route", "last")]
        return {row.route: (row.pk, bool(row.detail.get("passed"))) for row in Event.objects.filter(pk__in=newest)}

    # Payments

    def _payments(self, _now: float) -> None:
        """An event for each payment that came into doubt, and for each that was settled."""
        try:
            with payments.opened(configured.configuration() or self._config) as ledger:
                doubts = book.doubts(ledger, after=self._doubted - OVERLAP_SECONDS)
                settled = book.settlements(ledger, limit=1000, after=self._settled - OVERLAP_SECONDS)
        except payments.NoLedgerError:
            return
        for doubt in doubts:
            if doubt.number not in self._told_of:
                _doubted(doubt)
        for each in settled:
            if each.doubt.number not in self._told_of or each.at > self._settled:
                _doubted(each.doubt)  # it may have been settled before this console looked
                _settled(each)
        self._told_of = {doubt.number for doubt in doubts} | {each.doubt.number for each in settled}
        self._doubted = max([self._doubted, *(doubt.doubted for doubt in doubts)])
        self._settled = max([self._settled, *(each.at for each in settled)])

    # What is too old

    def _upkeep(self, now: float) -> None:
        if time.monotonic() < self._next_upkeep:
            return
        events.purge(now - self._config.shadow.retention)
        audit.purge(now)
        limits.purge(now)
        Session.objects.filter(expire_date__lt=timezone.now()).delete()
        self._next_upkeep = time.monotonic() + UPKEEP_INTERVAL


def _doubted(doubt: Doubt) -> None:
    about = {"payment": doubt.number, "provider": doubt.provider, "reason": doubt.reason, "request_id": doubt.request_id, "key": doubt.key}
    text = f"payment {doubt.number}, sent to {doubt.provider}: {doubt.reason}"
    key = events.key("in-doubt", doubt.number, doubt.route, doubt.began)
    events.record(Event.Kind.IN_DOUBT, doubt.doubted, text, route=doubt.route, detail=about, key=key)


def _settled(each: Settled) -> None:
    doubt = each.doubt
    text = f"payment {doubt.number} was {each.outcome.replace('-', ' ')}"
    about = {"payment": doubt.number, "settled": each.outcome, "why": each.why}
    key = events.key("settled", doubt.number, doubt.route, doubt.began)
    events.record(Event.Kind.IN_DOUBT, each.at, text, route=doubt.route, by=each.by, detail=about, key=key)


def _gate_text(result: GateResult) -> str:
    if result.passed:
        return f"passed: {result.matched} of {result.compared} match, {percent(result.lower)} or more"
    return f"not passed any more: {result.reasons[0]}" if result.reasons else "not passed any more"
