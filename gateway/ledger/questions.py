"""What waits for the ledger's database: who asks, what is owed to it, and what is tried again later.

All of it is guarded by `wake`: whoever calls holds that. Bounded: of those who ask by WAITING, and they are told so; of what is owed by
OWED, and what falls out is counted.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from gateway.ledger.database import Connection

WAITING: Final = 1000
"""Questions that wait; one more is told at once that nobody knows."""
ALIKE: Final = 16
"""Of these, about one key. Whoever repeats one again and again while the database is held up over it takes no place from others. One more
is told at once that others with its key are under way (`crowded`)."""
OWED: Final = 20_000
"""What is still to be written of requests that were sent; about 100 bytes each, and the answer. Beyond that the oldest is left to its line,
which stays claimed until this worker ends, and is in doubt then."""

Told = Callable[[Any], None]
Work = Callable[[Connection], Any]


class Question:
    """Something to do with the database, and who wants to know what came of it."""

    __slots__ = ("about", "ends", "instead", "mend", "must", "on_late", "over", "then", "timer", "tries", "until", "work")

    def __init__(self, work: Work, then: Told | None, *, must: bool, until: float) -> None:
        self.work = work
        self.then = then
        self.must = must
        """It is done however long that takes."""
        self.until = until
        """Monotonic seconds after which nobody waits."""
        self.about: object = None
        """The key that it is about. Of two about the same key one would wait in the database for the other."""
        self.timer: asyncio.TimerHandle | None = None
        self.over = False
        """Whoever asked was told that nobody knows. The loop's alone."""
        self.on_late: Told | None = None
        self.mend: Work | None = None
        """What has to be done where nobody knows whether this was: the connection broke."""
        self.ends = must
        """It is the end of an attempt."""
        self.tries = 0
        """How often it failed for a reason that nobody foresaw."""
        self.instead: Work | None = None
        """What is written where this cannot be."""


def owed(work: Work) -> Question:
    """What has to be done, of which nobody wants to hear, and which ends no attempt."""
    question = Question(work, None, must=True, until=0.0)
    question.ends = False
    return question


class Questions:
    """See the module's docstring. `apart`: several threads take from it, so two questions about one key are never out at once."""

    def __init__(self, *, apart: bool) -> None:
        self.wake = threading.Condition()
        self.lost = 0
        """What was owed, and fell out."""
        self._apart = apart
        self._asked: deque[Question] = deque()
        self._owed: deque[Question] = deque()
        self._later: list[tuple[float, int, Question]] = []
        """By the moment from which on it is tried again, monotonic."""
        self._numbers = count()
        self._alike: dict[object, int] = {}
        """How many of those who ask do so about the same key."""
        self._out: set[object] = set()
        """The keys of the questions that somebody is putting to the database."""

    @property
    def owing(self) -> int:
        """What is owed and not written."""
        return len(self._owed) + len(self._later) + self.lost

    @property
    def empty(self) -> bool:
        """Is there nothing to do, now or later?"""
        return not self._asked and not self._owed and not self._later

    def put(self, question: Question) -> bool:
        """False: too many wait."""
        if question.must:
            self.owe([question])
            return True
        if len(self._asked) >= WAITING or self.crowded(question.about):
            return False
        if question.about is not None:
            self._alike[question.about] = self._alike.get(question.about, 0) + 1
        self._asked.append(question)
        self.wake.notify()
        return True

    def crowded(self, about: object) -> bool:
        """Do as many wait about this key as may?"""
        return self._alike.get(about, 0) >= ALIKE

    def owe(self, questions: list[Question], *, first: bool = False) -> None:
        """To be written as soon as can be; `first`: before what is owed already."""
        if first:
            self._owed.extendleft(reversed(questions))
        else:
            self._owed.extend(questions)
        while len(self._owed) + len(self._later) > OWED and self._owed:
            self._owed.popleft()
            self.lost += 1
        self.wake.notify()

    def owe_later(self, question: Question, due: float) -> None:
        """To be written, and not to be tried before `due`."""
        heapq.heappush(self._later, (due, next(self._numbers), question))

    def idle(self, now: float, longest: float) -> float:
        """For how many seconds there is nothing to do but what comes in between."""
        return max(0.0, min(longest, self._later[0][0] - now)) if self._later else longest

    def take(self, now: float, most: int, *, asked_only: bool, all_due: bool) -> list[Question]:
        """What is done next, at most `most`. `asked_only`: what is owed waits on. `all_due`: nothing is put off. `done` follows."""
        while self._later and (all_due or self._later[0][0] <= now):
            self._owed.append(heapq.heappop(self._later)[2])
        found: list[Question] = []
        while self._owed and len(found) < most and not asked_only:
            found.append(self._owed.popleft())
        passed: list[Question] = []
        while self._asked and len(found) < most:
            question = self._asked.popleft()
            if self._apart and question.about in self._out:
                if now < question.until:  # else its timer has told whoever asked
                    passed.append(question)
                else:
                    self._waits_no_more(question)
                continue
            self._waits_no_more(question)
            if self._apart and question.about is not None:
                self._out.add(question.about)
            found.append(question)
        self._asked.extendleft(reversed(passed))
        return found

    def _waits_no_more(self, question: Question) -> None:
        if question.about is not None:
            left = self._alike.pop(question.about) - 1
            if left:
                self._alike[question.about] = left

    def done(self, questions: list[Question]) -> None:
        """They are out no more."""
        for question in questions:
            if question.about is not None and not question.must:
                self._out.discard(question.about)
        if self._asked:
            self.wake.notify()
