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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gateway.ledger import book, sealing
from gateway.ledger.database import AwayError, BusyError, Connection, connect, transaction
from gateway.ledger.entries import Claim, Held, Outcome
from gateway.ledger.questions import Question, Questions, Told, Work, owed
from gateway.ledger.upkeep import Upkeep
from gateway.policy.payments import Verdict
from gateway.settings.ledger import Ledger

_log = logging.getLogger("banyan.ledger")

THREADS: Final = 4
"""For PostgreSQL: connections of one worker."""
GROUP: Final = 64
"""Questions in one transaction, for SQLite."""
TICK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 0.5
"""After the database could not be used, questions are not put to it for so long."""
TRIES: Final = 5
"""What must be written, and fails for a reason that nobody foresaw, is tried so often, each time after twice the time of before. Then it is
put in doubt in its place."""
SELDOM_SECONDS: Final = 30.0
"""The longest time between two tries: a doubt that cannot be written is tried so often as long as this worker lives."""
NOT_WRITTEN, NOT_RELEASED = "not-written", "not-released"
"""Why it is in doubt: it was answered, or sent to nobody, and just that could not be written."""


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
        self._waiting = Questions(apart=not settings.local)
        self._wake = self._waiting.wake
        self._closing = False
        self._under_way = 0
        """Attempts of this worker that are neither finished nor given back. Of the threads, under `_wake`."""
        self._beaten = 0.0
        self._upkeep = Upkeep()
        self._stuck: set[object] = set()
        """What others held in the database, since anything could last be done; as many as are needed to tell. Under `_wake`."""
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

    @property
    def owing(self) -> int:
        """Outcomes of requests that were sent, which the database has not got."""
        return self._waiting.owing

    # Questions

    def claim(self, wanted: Claim, then: Callable[[Outcome | None], None]) -> None:
        """`then` is told what came of it; None: the ledger is away, and nothing may be sent."""
        self._ask(
            partial(book.claim, wanted=wanted, owner=self.owner),
            then,
            must=False,
            on_late=lambda outcome: self._undo(outcome, wanted.token),
            mend=partial(book.disown, wanted=wanted),
            about=(wanted.route, wanted.scope, wanted.key),
            crowded=Outcome(Verdict.RUNNING),  # nobody looked, and yet it is so: others with this key are about to be sent, or told
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

        self._ask(work, then, must=True, instead=partial(book.doubt, held=held, reason=NOT_WRITTEN, status=status))

    def doubt(self, held: Held, reason: str, status: int, then: Told | None) -> None:
        """It was sent, and nobody knows what came of it. `then`: as `finish`."""
        self._ask(partial(book.doubt, held=held, reason=reason, status=status), then, must=True)

    def release(self, held: Held) -> None:
        """Nothing of it was sent to anybody."""
        self._ask(partial(book.release, held=held), None, must=True, instead=partial(book.doubt, held=held, reason=NOT_RELEASED))

    def _undo(self, outcome: Outcome | None, token: str) -> None:
        """A claim came through after its request had been told that it did not."""
        if outcome is not None and outcome.verdict is Verdict.CLAIMED:
            self.release(Held(outcome.number, token))
        elif outcome is not None and outcome.verdict is Verdict.AGAIN:
            self.doubt(Held(outcome.number, token), "not-repeated", outcome.status, None)

    def _ask(
        self,
        work: Work,
        then: Told | None,
        *,
        must: bool,
        on_late: Told | None = None,
        mend: Work | None = None,
        about: object = None,
        instead: Work | None = None,
        crowded: Any = None,
    ) -> None:
        """`crowded`: what is told where as many as may wait about the same already; but while the ledger is away that alone is."""
        timeout = self._settings.timeout
        question = Question(work, then, must=must, until=time.monotonic() + timeout)
        question.on_late, question.mend, question.about, question.instead = on_late, mend, about, instead
        with self._wake:
            full = not self._waiting.put(question)
            among = full and self.up and self._waiting.crowded(about)
        if full:
            question.over = True
            self._loop.call_soon(self._told, question, crowded if among else None)
        elif then is not None:
            question.timer = self._loop.call_later(timeout, self._expired, question)

    def _expired(self, question: Question) -> None:
        question.timer = None
        question.over = True
        self._told(question, None)

    def _answered(self, question: Question, result: Any) -> None:
        if question.timer is not None:
            question.timer.cancel()
            question.timer = None
        if question.over:
            if question.on_late is not None:
                question.on_late(result)
            return
        question.over = True
        self._told(question, result)

    def _told(self, question: Question, result: Any) -> None:
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
            taken = self._take()
            if taken is None:
                break
            found = taken
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
            except BusyError as error:
                self._held_up(found, str(error))
            except AwayError as error:
                self._away(str(error))
                self._refuse(found, unsure=database is not None)
                if database is not None:
                    database.close()
                    database = None
            except Exception:  # a mistake of ours must not leave every payment without a ledger
                if database is None or len(found) < 2:
                    self._failed(found)
                else:
                    self._one_by_one(database, found)
            finally:
                with self._wake:
                    self._waiting.done(taken)
        if database is not None:
            if first:
                try:
                    book.leave(database, self.owner)
                except AwayError as error:
                    _log.warning("the ledger could not be told that this worker ends (%s); it will find out", error)
            database.close()

    def _take(self) -> list[Question] | None:
        """What is to be done next, perhaps nothing; None: all is done, and the worker ends."""
        with self._wake:
            found = self._next()
            if not found:
                if self._closing and self._waiting.empty:
                    return None
                now = time.monotonic()
                self._wake.wait(AGAIN_SECONDS if now < self._quiet_until else self._waiting.idle(now, TICK_SECONDS))
                found = self._next()
            return found

    def _next(self) -> list[Question]:
        """While the database is away, what is owed waits for it to be there again; who asks is told at once that it is not."""
        now = time.monotonic()
        resting = now < self._quiet_until and not self._closing
        return self._waiting.take(now, GROUP if self._settings.local else 1, asked_only=resting, all_due=self._closing)

    def _carry_out(self, database: Connection, found: list[Question]) -> None:
        now = time.monotonic()
        wanted = [question for question in found if question.must or now < question.until]
        if wanted:
            if now - self._beaten > TICK_SECONDS:
                book.beat(database, self.owner)  # by itself: within what follows it would be held as long as that waits for others
                self._beaten = now
            with transaction(database):
                results = [question.work(database) for question in wanted]
            with self._wake:
                self._stuck.clear()
                for question, result in zip(wanted, results, strict=True):
                    claimed = isinstance(result, Outcome) and result.verdict in (Verdict.CLAIMED, Verdict.AGAIN)
                    self._under_way += int(claimed) - int(question.ends)
            self._tell(list(zip(wanted, results, strict=True)))
        late = [question for question in found if question not in wanted]
        self._tell([(question, None) for question in late])

    def _one_by_one(self, database: Connection, found: list[Question]) -> None:
        """One of these cannot be done, and the others must not suffer for it."""
        for number, question in enumerate(found):
            try:
                self._carry_out(database, [question])
            except AwayError as error:
                self._away(str(error))
                self._refuse(found[number:], unsure=True)
                return
            except Exception:
                self._failed([question])

    def _failed(self, found: list[Question]) -> None:
        """Nobody foresaw it, so nobody knows whether it passes: what must be written is tried again a few times, and then something else is
        written, which says that nobody knows."""
        _log.exception("the ledger could not be asked")
        now = time.monotonic()
        for question in found:
            if not question.must:
                continue
            question.tries += 1
            if question.tries >= TRIES and question.instead is not None:
                question.work, question.instead = question.instead, None
                question.tries = 0
                _log.error("what came of a payment cannot be written down: it is put in doubt")
            with self._wake:
                if self._closing:
                    self._left += 1
                else:
                    self._waiting.owe_later(question, now + min(SELDOM_SECONDS, AGAIN_SECONDS * 2 ** min(question.tries, 10)))
        self._tell([(question, None) for question in found])

    def _held_up(self, found: list[Question], why: str) -> None:
        """Somebody else held just what these are about, and they were not done. Others go on; unless it is so with whatever is asked."""
        with self._wake:
            everywhere = len(self._stuck) >= THREADS
            if not everywhere:
                self._stuck.update(question.about or question for question in found)
            for question in found:
                if question.must and self._closing:
                    self._left += 1
                elif question.must:
                    self._waiting.owe_later(question, time.monotonic() + AGAIN_SECONDS)
        self._tell([(question, None) for question in found if not question.must])
        if everywhere:
            self._away(why)

    def _look_after(self, database: Connection) -> None:
        now = time.monotonic()
        if now - self._beaten > TICK_SECONDS and self._under_way > 0:
            book.beat(database, self.owner)
            self._beaten = now
        if self._upkeep.due(now):
            self.in_doubt = self._upkeep.look(database, self._settings, lambda: self._live(database))

    def _live(self, database: Connection) -> None:
        if self._under_way > 0:
            book.beat(database, self.owner)

    def _refuse(self, found: list[Question], *, unsure: bool = False) -> None:
        """The database does not do it now: who asks is told so, what is owed is tried again. `unsure`: perhaps it did, and nobody heard."""
        musts = [question for question in found if question.must]
        with self._wake:
            if self._closing:
                self._left += len(musts)
            else:
                self._waiting.owe(musts, first=True)
                if unsure:
                    self._waiting.owe([owed(question.mend) for question in found if question.mend is not None])
        self._tell([(question, None) for question in found if not question.must])

    def _tell(self, results: list[tuple[Question, Any]]) -> None:
        if results:
            try:
                self._loop.call_soon_threadsafe(self._tell_all, results)
            except RuntimeError:
                pass  # the loop has ended: nobody waits

    def _tell_all(self, results: list[tuple[Question, Any]]) -> None:
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
        left = self._left + self._waiting.owing
        if left:
            _log.error("the ledger could not be told of %d payments: they will be in doubt", left)
