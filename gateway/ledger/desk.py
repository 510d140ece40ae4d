"""A worker's way to the ledger: threads that speak with the database while the event loop goes on.

Everything is bounded. A question waits for `timeout` seconds, then whoever asked is told that nobody knows; a claim that comes through
after that is given back, since nothing was sent for it. What is to be written of a request that was sent (answered, in doubt, given back)
is never thrown away while the worker lives: it is tried until the database takes it. A worker that dies with it has its lines put in doubt
by another.

SQLite has one thread, which takes what has come together in one transaction: one write to the disk for all. PostgreSQL has several.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gateway.ledger import book, sealing
from gateway.ledger.database import AwayError, Connection, connect, transaction
from gateway.ledger.entries import Claim, Held, Outcome
from gateway.policy.payments import Verdict
from gateway.settings.ledger import Ledger

_log = logging.getLogger("banyan.ledger")

THREADS: Final = 4
"""For PostgreSQL: connections of one worker."""
GROUP: Final = 64
"""Questions in one transaction, for SQLite."""
WAITING: Final = 1000
"""Questions that wait; one more is told at once that nobody knows."""
OWED: Final = 20_000
"""What is still to be written of requests that were sent; about 100 bytes each, and the answer. Beyond that the oldest is left to its line,
which stays claimed until this worker ends, and is in doubt then."""
TICK_SECONDS: Final = 1.0
REAP_SECONDS: Final = 2.0
PURGE_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 0.5
"""After the database could not be used, questions are not put to it for so long."""
JUMP_SECONDS: Final = 2.0
"""Where the machine's clock was set by more than this since the last look, nobody is taken for dead at this look."""

Told = Callable[[Any], None]


class _Question:
    """Something to do with the database, and who wants to know what came of it."""

    __slots__ = ("ends", "mend", "must", "on_late", "over", "then", "timer", "until", "work")

    def __init__(self, work: Callable[[Connection], Any], then: Told | None, *, must: bool, until: float) -> None:
        self.work = work
        self.then = then
        self.must = must
        """It is done however long that takes."""
        self.until = until
        """Monotonic seconds after which nobody waits."""
        self.timer: asyncio.TimerHandle | None = None
        self.over = False
        """Whoever asked was told that nobody knows. The loop's alone."""
        self.on_late: Told | None = None
        self.mend: Callable[[Connection], Any] | None = None
        """What has to be done where nobody knows whether this was: the connection broke."""
        self.ends = must
        """It is the end of an attempt."""


class Desk:
    """See the module's docstring. Made on the event loop, whose methods these are; `close` alone blocks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Ledger, folder: Path) -> None:
        self.owner = uuid4().hex
        self.up = True
        """The database did what it was last asked."""
        self.in_doubt: dict[str, int] = {}
        """Route → payments in doubt, in all the ledger, some seconds ago."""
        self._loop = loop
        self._settings = settings
        self._folder = folder
        self._questions: deque[_Question] = deque()
        self._owed: deque[_Question] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._under_way = 0
        """Attempts of this worker that are neither finished nor given back. Of the threads, under `_wake`."""
        self._beaten = 0.0
        self._reaped = 0.0
        self._purged = 0.0
        self._offset = time.time() - time.monotonic()
        self._quiet_until = 0.0
        self._complaint = ""
        self._left = 0
        """What was owed at the end, and could not be written."""
        self._threads = [
            threading.Thread(target=self._run, args=(number == 0,), name=f"ledger {number}", daemon=True)
            for number in range(1 if settings.local else THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def configure(self, settings: Ledger) -> None:
        """Other bounds from now on. The database stays."""
        self._settings = settings

    # Questions

    def claim(self, wanted: Claim, then: Callable[[Outcome | None], None]) -> None:
        """`then` is told what came of it; None: the ledger is away, and nothing may be sent."""
        self._ask(
            partial(book.claim, wanted=wanted, owner=self.owner),
            then,
            must=False,
            on_late=lambda outcome: self._undo(outcome, wanted.token),
            mend=partial(book.disown, wanted=wanted),
        )

    def move(self, held: Held, provider: str, refused: list[str], then: Callable[[bool | None], None]) -> None:
        """Before anything is sent to `provider` in the place of those that refused. `then`: may it be?"""
        self._ask(partial(book.move, held=held, provider=provider, refused=tuple(refused)), then, must=False)

    def again(self, held: Held, then: Callable[[bool | None], None]) -> None:
        """Before it is sent to the same provider once more. `then`: may it be?"""
        self._ask(partial(book.again, held=held), then, must=False)

    def finish(self, held: Held, status: int, answer: bytes | None, known: bytes, then: Told | None) -> None:
        """It was answered; `answer` is sealed with what the request alone knows. `then` is called once it is written, or after the
        timeout, when it still will be."""

        def work(database: Connection) -> bool:
            return book.finish(database, held, status, None if answer is None else sealing.seal(known, answer))

        self._ask(work, then, must=True)

    def doubt(self, held: Held, reason: str, status: int, then: Told | None) -> None:
        """It was sent, and nobody knows what came of it. `then`: as `finish`."""
        self._ask(partial(book.doubt, held=held, reason=reason, status=status), then, must=True)

    def release(self, held: Held) -> None:
        """Nothing of it was sent to anybody."""
        self._ask(partial(book.release, held=held), None, must=True)

    def _undo(self, outcome: Outcome | None, token: str) -> None:
        """A claim came through after its request had been told that it did not."""
        if outcome is not None and outcome.verdict is Verdict.CLAIMED:
            self.release(Held(outcome.number, token))
        elif outcome is not None and outcome.verdict is Verdict.AGAIN:
            self.doubt(Held(outcome.number, token), "not-repeated", outcome.status, None)

    def _ask(
        self,
        work: Callable[[Connection], Any],
        then: Told | None,
        *,
        must: bool,
        on_late: Told | None = None,
        mend: Callable[[Connection], Any] | None = None,
    ) -> None:
        timeout = self._settings.timeout
        question = _Question(work, then, must=must, until=time.monotonic() + timeout)
        question.on_late, question.mend = on_late, mend
        with self._wake:
            full = not must and len(self._questions) >= WAITING
            if must:
                self._owed.append(question)
                if len(self._owed) > OWED:
                    self._owed.popleft()
            elif not full:
                self._questions.append(question)
            self._wake.notify()
        if full:
            question.over = True
            self._loop.call_soon(self._told, question, None)
        elif then is not None:
            question.timer = self._loop.call_later(timeout, self._expired, question)

    def _expired(self, question: _Question) -> None:
        question.timer = None
        question.over = True
        self._told(question, None)

    def _answered(self, question: _Question, result: Any) -> None:
        if question.timer is not None:
            question.timer.cancel()
            question.timer = None
        if question.over:
            if question.on_late is not None:
                question.on_late(result)
            return
        question.over = True
        self._told(question, result)

    def _told(self, question: _Question, result: Any) -> None:
        then, question.then = question.then, None
        if then is not None:
            try:
                then(result)
            except Exception:
                _log.exception("what the ledger said could not be acted upon")

    # The threads

    def _run(self, first: bool) -> None:
        """One thread. `first`: it sees to the upkeep, too."""
        database: Connection | None = None
        while True:
            found = self._take()
            if found is None:
                break
            resting = time.monotonic() < self._quiet_until
            try:
                if resting and not self._closing:
                    self._refuse(found)
                    continue
                if database is None and (found or first):
                    database = connect(self._settings.database, self._folder, timeout=self._settings.timeout)
                if database is not None:
                    self._carry_out(database, found)
                    found = []  # whatever goes wrong from here on: these are done, and their owners know
                    if first:
                        self._look_after(database)
                    self._well()
            except AwayError as error:
                self._away(str(error))
                self._refuse(found, unsure=database is not None)
                if database is not None:
                    database.close()
                    database = None
            except Exception:  # a mistake of ours must not leave every payment without a ledger
                if database is None or len(found) < 2:
                    _log.exception("the ledger could not be asked")
                    self._tell([(question, None) for question in found])
                else:
                    self._one_by_one(database, found)
        if database is not None:
            if first:
                try:
                    book.leave(database, self.owner)
                except AwayError as error:
                    _log.warning("the ledger could not be told that this worker ends (%s); it will find out", error)
            database.close()

    def _take(self) -> list[_Question] | None:
        """What is to be done next, perhaps nothing; None: all is done, and the worker ends."""
        most = GROUP if self._settings.local else 1
        with self._wake:
            if time.monotonic() < self._quiet_until and not self._closing:
                # What is owed waits for the database to be there again; who asks is told at once that it is not.
                if not self._questions:
                    self._wake.wait(AGAIN_SECONDS)
            elif not self._questions and not self._owed:
                if self._closing:
                    return None
                self._wake.wait(TICK_SECONDS)
            found: list[_Question] = []
            if time.monotonic() >= self._quiet_until or self._closing:
                while self._owed and len(found) < most:
                    found.append(self._owed.popleft())
            while self._questions and len(found) < most:
                found.append(self._questions.popleft())
            return found

    def _carry_out(self, database: Connection, found: list[_Question]) -> None:
        now = time.monotonic()
        wanted = [question for question in found if question.must or now < question.until]
        if wanted:
            with transaction(database):
                if now - self._beaten > TICK_SECONDS:
                    book.beat(database, self.owner)
                results = [question.work(database) for question in wanted]
            if now - self._beaten > TICK_SECONDS:
                self._beaten = now
            with self._wake:
                for question, result in zip(wanted, results, strict=True):
                    claimed = isinstance(result, Outcome) and result.verdict in (Verdict.CLAIMED, Verdict.AGAIN)
                    self._under_way += int(claimed) - int(question.ends)
            self._tell(list(zip(wanted, results, strict=True)))
        late = [question for question in found if question not in wanted]
        self._tell([(question, None) for question in late])

    def _one_by_one(self, database: Connection, found: list[_Question]) -> None:
        """One of these cannot be done, and the others must not suffer for it."""
        for number, question in enumerate(found):
            try:
                self._carry_out(database, [question])
            except AwayError as error:
                self._away(str(error))
                self._refuse(found[number:], unsure=True)
                return
            except Exception:
                _log.exception("the ledger could not be asked")
                self._tell([(question, None)])

    def _look_after(self, database: Connection) -> None:
        now = time.monotonic()
        if now - self._beaten > TICK_SECONDS and self._under_way > 0:
            book.beat(database, self.owner)
            self._beaten = now
        if now - self._reaped < REAP_SECONDS:
            return
        self._reaped = now
        offset = time.time() - now
        jumped, self._offset = abs(offset - self._offset) > JUMP_SECONDS, offset
        if jumped and self._settings.local:
            _log.warning("this machine's clock was set: who has died is found out at the next look")
            if self._under_way > 0:
                book.beat(database, self.owner)
        else:
            lost = book.reap(database)
            if lost:
                _log.warning("%d payments were under way in a worker that is dead: they are in doubt", lost)
        self.in_doubt = book.counts(database)
        if now - self._purged > PURGE_SECONDS:
            self._purged = now
            settings = self._settings
            book.purge(database, keep=settings.keep, settled=settings.settled, most=settings.total_bytes)

    def _refuse(self, found: list[_Question], *, unsure: bool = False) -> None:
        """The database does not do it now: who asks is told so, what is owed is tried again. `unsure`: perhaps it did, and nobody heard."""
        owed = [question for question in found if question.must]
        with self._wake:
            if self._closing:
                self._left += len(owed)
            else:
                self._owed.extendleft(reversed(owed))
                if unsure:
                    self._owed.extend([_mending(question.mend) for question in found if question.mend is not None])
        self._tell([(question, None) for question in found if not question.must])

    def _tell(self, results: list[tuple[_Question, Any]]) -> None:
        if results:
            try:
                self._loop.call_soon_threadsafe(self._tell_all, results)
            except RuntimeError:
                pass  # the loop has ended: nobody waits

    def _tell_all(self, results: list[tuple[_Question, Any]]) -> None:
        for question, result in results:
            self._answered(question, result)

    def _away(self, why: str) -> None:
        self.up = False
        self._quiet_until = time.monotonic() + AGAIN_SECONDS
        if why != self._complaint:
            self._complaint = why
            _log.error("the ledger cannot be used (%s): its routes are answered 503 until it can", why)

    def _well(self) -> None:
        if not self.up and time.monotonic() >= self._quiet_until:
            self.up = True
            self._complaint = ""
            _log.warning("the ledger can be used again")

    # The end

    def close(self, seconds: float = 2.0) -> None:
        """Writes what is owed, for at most `seconds`. Blocks."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        left = self._left + len(self._owed)
        if left:
            _log.error("the ledger could not be told of %d payments: they will be in doubt", left)


def _mending(work: Callable[[Connection], Any]) -> _Question:
    question = _Question(work, None, must=True, until=0.0)
    question.ends = False
    return question
