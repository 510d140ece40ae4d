"""How many requests an upstream is worth at once: a limit that follows its answers' latency.

An upstream with W workers answers W requests at once, and what comes beside waits in front of it. By Little's law its latency is then what
it was, times n/W. So the ratio of the latency without a crowd (`base`) to that of now says by how much too many are with it, and the limit
is multiplied with it. A tolerance lets it be a little busier than its workers, so that none of them waits for the gateway, and a headroom
of half the limit's square root finds out whether more can be taken: the gradient of Netflix's concurrency-limits, with the mean of all
answers in the place of their minimum, since a monolith's pages are not all as fast as its fastest.

The limit moves only while it is what holds requests back: of an upstream that is not asked for more, latency is its own matter. The base is
learned
- while there is no crowd, downwards at once and upwards within a minute;
- at the floor: with so few requests nobody waits for anybody, so what is slow there is slow by itself;
- when the limit was halved and latency did not fall with it: then it was not the crowd that made it slow;
- in a crowd that stays, by a trial every few seconds: for a moment fewer are let in, and how much faster that is says how much of the
  latency is waiting.

It begins at the floor, where the base can be seen, and grows by GROWTH with each whole round of answers, until one comes late: so it ends
at most that much too high. So it does again when it was right to grow STEADY times in a row. The base is at first the mean of MANY answers:
of few it would be a matter of luck, and an upstream whose pages differ would be held back without need. Pure: times are passed in.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

TOLERANCE: Final = 1.2
"""Times the base: an upstream this much slower is not yet taken for crowded. So a sixth of what is under way may wait in front of it."""
WINDOW: Final = 0.1
"""Seconds between two looks at the limit, at least, and one round of answers."""
FIRST_WINDOW: Final = 0.3
"""Seconds: what is answered first is what is answered quickly, and no measure."""
LONGEST_WINDOW: Final = 1.0
"""Seconds, at most, where there are FEWEST."""
FEWEST: Final = 10
"""Answers that a look needs after LONGEST_WINDOW."""
ENOUGH: Final = 50
"""Answers that it needs before; and as many as may be under way."""
MANY: Final = 200
"""Answers whose mean is taken for the base: the mean of fewer is a matter of luck."""
RISE_SECONDS: Final = 60.0
FALL_SECONDS: Final = 5.0
"""Within about this time the base follows an upstream that has become slower, or faster, without a crowd."""
FLOOR_SECONDS: Final = 1.0
"""At the floor, and still slow, for this long: it is slow by itself."""
STEEPEST: Final = 0.5
"""The limit is never less than half of what it was at the last look."""
TRIAL_SECONDS: Final = 5.0
"""Between two trials, while requests are held back: with TRIAL of the limit, until the next look."""
TRIAL: Final = 0.6
GROWTH: Final = 1.5
STEADY: Final = 2
AGAIN_SECONDS: Final = 1.0
"""After a trial in which it was clearly quicker than it was thought to be."""
LUCK: Final = 0.5
"""Over the square root of how many answers a mean is of: so much of the base it may be above it by luck."""


class Adaptive:
    """The limit of one upstream, as one worker sees it. `floor` and `ceiling`: between which it stays."""

    __slots__ = (
        "_before_trial",
        "_ceiling",
        "_count",
        "_ends",
        "_floor",
        "_floor_count",
        "_floor_since",
        "_floor_total",
        "_good",
        "_grown_at",
        "_known",
        "_latest",
        "_limit",
        "_looked_at",
        "_next_trial",
        "_peak",
        "_pressed",
        "_reference",
        "_reference_latency",
        "_round",
        "_round_total",
        "_since",
        "_slow",
        "_starting",
        "_total",
        "_trial_latency",
        "base",
        "latency",
    )

    def __init__(self, floor: int, ceiling: int) -> None:
        self._floor = float(floor)
        self._ceiling = float(max(floor, ceiling))
        self._limit = self._floor
        self.base = 0.0
        """Seconds that an answer takes without a crowd; 0.0: nothing is known."""
        self.latency = 0.0
        """Seconds that it took at the last look."""
        self._known = 0
        """Of how many answers the base is the mean, up to MANY."""
        self._slow = 0.0
        """The mean of the last MANY answers, about."""
        self._starting = True
        """The limit grows with each round of answers, as TCP's window does."""
        self._grown_at = 0.0
        """When the limit has grown last."""
        self._good = 0
        """How many times in a row it was right to grow."""
        self._round = 0
        self._round_total = 0.0
        """Answers to what was begun since then, and their seconds."""
        self._count = 0
        self._total = 0.0
        self._peak = 0
        self._pressed = False
        """Somebody was held back by the limit since the last look."""
        self._looked_at = 0.0
        self._ends = 0.0
        self._latest = 0.0
        """When the next look is due: not before `_ends`, and with FEWEST answers not after `_latest`."""
        self._floor_since = -1.0
        self._floor_count = 0
        self._floor_total = 0.0
        self._reference = 0.0
        """The limit from which it has been going down, and the latency there."""
        self._reference_latency = 0.0
        self._next_trial = 0.0
        self._before_trial = 0.0
        """The limit before a trial, and the latency; 0.0: there is none."""
        self._trial_latency = 0.0
        self._since = 0.0
        """When it will have been in force for an answer's time, after it went down. To look at what was begun since then would be
        wrong: the quick ones come first."""

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return int(self._limit)

    def bounds(self, floor: int, ceiling: int) -> None:
        """Others from now on. What is known stays."""
        self._floor = float(floor)
        self._ceiling = float(max(floor, ceiling))
        self._limit = min(max(self._limit, self._floor), self._ceiling)

    def forget(self) -> None:
        """The upstream is another one: nothing is known of it."""
        self._limit = self._floor
        self.base = self.latency = self._slow = 0.0
        self._known = 0
        self._starting = True
        self._before_trial = 0.0

    def held_back(self) -> None:
        """There was no place for somebody."""
        self._pressed = True

    def answered(self, seconds: float, inside: int, now: float) -> bool:
        """One answer's head came after `seconds`, with `inside` under way, itself among them. Whether the limit may have changed."""
        if inside > self._peak:
            self._peak = inside
        if now < self._since:
            return False
        if self._latest == 0.0:
            self._looked_at, self._ends, self._latest = now, now + FIRST_WINDOW, now + LONGEST_WINDOW
        count = self._count = self._count + 1
        self._total += seconds
        if now >= self._ends and ((count >= ENOUGH and count >= self._limit) or (count >= FEWEST and now >= self._latest)):
            self._look(now)
            return True
        if self._starting and self._pressed:
            return self._grow(seconds, now)
        return False

    def _grow(self, seconds: float, now: float) -> bool:
        """At the beginning: a round is over when as many have been answered as may be under way, of those that were begun since the limit
        became what it is. The first of a round alone would tell nothing: for them there was a free worker still."""
        if now - seconds < self._grown_at:
            return False
        self._round += 1
        self._round_total += seconds
        if self._round < FEWEST or self._round < self._limit:
            return False
        mean = self._round_total / self._round
        luck = LUCK / sqrt(self._round)
        self._round, self._round_total = 0, 0.0
        if self.base > 0.0 and mean > (TOLERANCE + luck) * self.base:
            if self._limit <= self._floor or self._count < self._limit:
                return False  # with so few nobody waits for anybody; or since the last look there were too few to look again
            self._look(now)
            return True
        if self._limit < self._ceiling:
            self._limit = min(self._ceiling, self._limit * GROWTH)
            self._grown_at = now
            return True
        return False

    def _look(self, now: float) -> None:
        count, peak, pressed = self._count, self._peak, self._pressed
        latency = self.latency = self._total / count
        elapsed = min(now - self._looked_at, RISE_SECONDS)
        self._looked_at = now
        self._ends = now + min(LONGEST_WINDOW, max(WINDOW, latency))
        self._latest = now + LONGEST_WINDOW
        self._slow = self._slow + (latency - self._slow) * min(1.0, count / MANY) if self._slow > 0.0 else latency
        if self._known < MANY and (self._starting or not pressed):
            self._known += count
            self.base += (latency - self.base) * count / self._known
        elif self._slow < self.base:
            self.base += (self._slow - self.base) * min(1.0, elapsed / FALL_SECONDS)
        elif not pressed and peak * 2 <= self._limit:
            self.base += (self._slow - self.base) * elapsed / RISE_SECONDS
        if self._before_trial:
            self._tried(latency, now)
        elif pressed:
            self._move(latency, now)
        else:
            # Whatever held somebody back is over: it leaves no trace in what comes later.
            self._floor_since = -1.0
            self._reference = 0.0
            self._next_trial = now + TRIAL_SECONDS
        self._count, self._total, self._peak, self._pressed = 0, 0.0, 0, False

    def _move(self, latency: float, now: float) -> None:
        """Somebody was held back: was that right?"""
        limit, gradient = self._limit, self.base * TOLERANCE / latency if latency > 0.0 else 1.0
        if not self._starting and now >= self._next_trial and limit > self._floor:
            self._before_trial, self._trial_latency = limit, latency
            self._lower(limit * TRIAL, now)
            return
        if gradient >= 1.0:
            if not self._starting:
                self._limit = min(self._ceiling, limit + _headroom(limit))
                self._good += 1
                if self._good >= STEADY:
                    self._starting, self._grown_at = True, now
                    self._round, self._round_total = 0, 0.0
            self._floor_since = -1.0
            self._reference = 0.0
            return
        self._good = 0
        if self._starting and limit > self._floor:
            self._starting = False
            self._next_trial = now + WINDOW  # what was seen while it doubled is not sure
        if limit <= self._floor:
            self._at_the_floor(now)
            return
        self._floor_since = -1.0
        if self._reference <= 0.0:
            self._reference, self._reference_latency = limit, latency
        elif limit * 2.0 <= self._reference:
            if latency > self._reference_latency * 0.75:
                self._learn(latency)
                return
            self._reference, self._reference_latency = limit, latency
        wanted = max(limit * STEEPEST, limit * gradient + _headroom(limit))
        if wanted < limit:
            self._lower(wanted, now)
        else:
            self._limit = min(self._ceiling, wanted)

    def _lower(self, limit: float, now: float) -> None:
        self._limit = max(self._floor, limit)
        self._since = now + min(LONGEST_WINDOW, self.latency)
        self._ends = max(self._ends, self._since + WINDOW)

    def _at_the_floor(self, now: float) -> None:
        if self._floor_since < 0.0:
            self._floor_since, self._floor_count, self._floor_total = now, 0, 0.0
            return
        self._floor_count += self._count
        self._floor_total += self._total
        if now - self._floor_since >= FLOOR_SECONDS and self._floor_count >= ENOUGH:
            self._learn(self._floor_total / self._floor_count)

    def _tried(self, latency: float, now: float) -> None:
        """In a trial there are fewer under way. Where latency has fallen with their number, they have been waiting for each other, and the
        base lies below; where it has stayed, this is the base."""
        limit, self._before_trial = self._before_trial, 0.0
        self._next_trial = now + TRIAL_SECONDS
        self._reference = 0.0
        if latency * TOLERANCE < self.base:
            # It has become quicker, not by luck: what the base allows is a queue. The next trial says whether that was all.
            self.base = latency
            self._next_trial = now + AGAIN_SECONDS
        elif latency < self.base:
            self.base += (latency - self.base) / 2.0
        else:
            fell = (self._trial_latency - latency) / (self._trial_latency * (1.0 - TRIAL))
            self.base += (latency - self.base) * (1.0 - min(1.0, max(0.0, fell))) / 2.0
        # Back to the limit before, or to what is right after all, where that was too high.
        wanted = limit * self.base * TOLERANCE / self._trial_latency + _headroom(limit)
        self._limit = max(self._limit, min(limit, wanted))

    def _learn(self, latency: float) -> None:
        """This is what it takes without a crowd."""
        self.base = self._slow = latency
        self._starting = True
        self._floor_since = -1.0
        self._reference = 0.0


def _headroom(limit: float) -> float:
    return max(1.0, sqrt(limit) / 2.0)
