"""What comparing comes to, for whoever looks: by the same judge and the same rules as the shadow's own (shadow.judge), in a thread beside.

The counts are not touched: those come from the shipper, which gets every exchange too. Here is a queue that is bounded by count and bytes,
and what there is no room for goes without a verdict. So does what may take long to compare.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping

from gateway.config import Config
from inspecting import marks
from shadow.exchange import Exchange
from shadow.judge import Judge, Judgement
from shadow.logs import about
from shadow.rules import Rule
from shadow.sinks import SinkError
from shadow.sinks.local import redaction
from shadow.worker import INLINE_BYTES, Intake

_log = logging.getLogger("banyan.inspect")

WAITING = 500
WAITING_BYTES = 32 * 1024 * 1024
RULES_SECONDS = 2.0
"""How often reviewed rules are looked for."""
NOT_HERE = "not compared here"

Heard = Callable[[Exchange, str, str], None]
"""Told of a verdict: (exchange, outcome, what differs)."""


class Verdicts:
    """`heard` is called on the loop that this was made on."""

    def __init__(self, config: Config, heard: Heard) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(WAITING, WAITING_BYTES)
        self._config = config
        self._stale = True
        """Another configuration is to be judged by than the judge was made of."""
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="verdicts", daemon=True)
        self._thread.start()

    def offer(self, exchange: Exchange) -> bool:
        """Whether there is room for it."""
        return self._intake.put(exchange)

    def reconfigure(self, config: Config) -> None:
        self._config = config
        self._stale = True

    def close(self, seconds: float) -> None:
        self._intake.close()
        self._intake.clear()
        self._thread.join(seconds)

    # The thread

    def _run(self) -> None:
        judge: Judge | None = None
        looked = 0.0
        known: Mapping[str, list[Rule]] = {}
        while (exchange := self._intake.take()) is not None:
            now = time.monotonic()
            if self._stale:
                self._stale = False
                judge, looked = self._judge(), 0.0
            if judge is not None and now - looked >= RULES_SECONDS:
                looked = now
                found = self._reviewed()
                if found is not None and found != known:
                    known = found
                judge = judge.under(known)
            outcome, difference = self._compare(judge, exchange)
            self._intake.done()
            try:
                self._loop.call_soon_threadsafe(self._heard, exchange, outcome, difference)
            except RuntimeError:  # the loop has ended
                return

    def _judge(self) -> Judge | None:
        try:
            _, redactor, rules = redaction(self._config)
        except SinkError as error:
            _log.error("nothing can be compared here: %s", error)
            return None
        return Judge(redactor, rules)

    def _compare(self, judge: Judge | None, exchange: Exchange) -> tuple[str, str]:
        try:
            found = judge.judge(exchange, INLINE_BYTES) if judge is not None else None
        except Exception:  # the next one must be compared whatever this one hit
            _log.exception(
                "comparing request %s on route %s failed",
                exchange.request_id,
                exchange.route,
                extra=about(exchange.request_id, exchange.route),
            )
            return NOT_HERE, "it failed"
        return _told(found)

    def _reviewed(self) -> Mapping[str, list[Rule]] | None:
        """The reviewed rules in force; None where they cannot be read, and those of before hold. Without a database there are none."""
        if self._config.shadow.sink != "local":
            return {}
        from shadow import rulebook, store

        try:
            store.setup(self._config.shadow.database, self._config.folder)
            store.renew_connection()  # this may be another look, after the last one broke it
            found: dict[str, list[Rule]] = {}
            for row in rulebook.active(None, time.time()):
                rule = rulebook.rule_of(row)
                if rule is not None:
                    found.setdefault(row.route, []).append(rule)
        except (*store.FAILURES, ValueError, OSError) as error:
            if not self._failing:
                _log.error("the reviewed rules cannot be read (%s); verdicts are by those of before", type(error).__name__)
            self._failing = True
            return None
        self._failing = False
        return found


def _told(found: Judgement | None) -> tuple[str, str]:
    if found is None:
        return NOT_HERE, "it may take long; the shadow compares it"
    if found.outcome == "mismatch":
        return found.outcome, marks.differences(found.signatures)
    return found.outcome, found.reason
