"""The endpoints of access logs: the same figures as of a gateway's own traffic, of a file of any size in bounded memory.

A log says less than a gateway sees. Where it has no durations, nothing is known of what an endpoint costs, and it says so; of caches it
knows what its format names, and how often the very same target was asked for again; of logins only whom the server itself knew, and who was
refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, cast, override

from gateway.endpoints import traits
from gateway.endpoints.declared import Declared
from gateway.endpoints.distinct import Distinct
from gateway.endpoints.figures import CACHES, MOST_ROUTES, SAFE, Figures, add, method_of
from gateway.endpoints.live import knows, listed
from gateway.endpoints.table import SECOND, Key, Table
from gateway.endpoints.templates import MOST, Templates
from recorded.access_log import Hit, LineError, Reader
from shadow.guard import bucket

ENTRIES: Final = 500
FIRST: Final = 20_000
"""Lines that are looked at before any is counted: so that an endpoint has its name from its first request on."""
_FIRST_BYTES: Final = 8 * 1024 * 1024
"""Of them, at most: lines may be of many KiB, and processes begin with a copy of what is held."""
NAMED: Final = 5
"""Lines that are named of each kind of trouble."""
TIMED: Final = 0.5
"""Share of the requests that need a duration, before anything is said of what endpoints cost."""
KINDS: Final = 40
"""Kinds of trouble that are told apart."""


class LoggedFigures(Figures):
    """Figures, and what only a log is asked for."""

    timed: float = 0.0
    """Of these requests, those with a duration."""
    users: float = 0.0
    """With a user's name."""
    tagged: float = 0.0
    """With an ETag in the answer."""
    targets: Distinct | None = None
    """Different paths with their queries; None: they were not counted."""

    def note(self, hit: Hit, seconds: float | None) -> None:
        """Adds one line."""
        # Not by add(): its call is what most of a line's time would go to.
        status, side = hit.status, hit.side
        self.count += 1.0
        table: dict[Any, float] = self.sides
        table[side] = table.get(side, 0.0) + 1.0
        if status is not None:
            table = self.statuses
            table[status] = table.get(status, 0.0) + 1.0
        if hit.route and (hit.route in self.routes or len(self.routes) < MOST_ROUTES):
            add(self.routes, hit.route, 1.0)
        if hit.user:
            self.users += 1.0
        if hit.tagged:
            self.tagged += 1.0
        if self.targets is not None:
            self.targets.add(hit.target)
        if seconds is not None:
            self.timed += 1.0
        if side == "gateway":
            return  # as live: its own answers cost nobody's time
        if seconds is not None:
            self.seconds += seconds
            if side == "legacy":
                self.legacy += seconds
            if status != 0:
                number = bucket(seconds)
                table = self.times
                table[number] = table.get(number, 0.0) + 1.0
                if side == "candidate":
                    add(self.candidate_times, number, 1.0)
        if status != 0:
            cache, table = CACHES[hit.cache], self.caches
            table[cache] = table.get(cache, 0.0) + 1.0

    @override
    def merge(self, other: Figures) -> None:
        super().merge(other)
        if isinstance(other, LoggedFigures):
            self.timed += other.timed
            self.users += other.users
            self.tagged += other.tagged
            if self.targets is not None and other.targets is not None:
                self.targets.merge(other.targets)

    @property
    def repeats(self) -> float | None:
        """Share of the requests whose very target had been asked for before; None: it was not counted."""
        if self.targets is None or not self.count:
            return None
        return max(0.0, 1.0 - len(self.targets) / self.count)


class _Table(Table):
    @override
    def figures(self) -> Figures:
        return LoggedFigures(targets=Distinct())


@dataclass(slots=True)
class Troubles:
    """Lines that could not be read."""

    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """Of each kind the first ones: FILE:LINE, or the line's number."""

    def add(self, where: str, why: str) -> None:
        """One more."""
        self.count += 1
        if why not in self.kinds and len(self.kinds) >= KINDS:
            why = "other"
        self.kinds[why] += 1
        named = self.lines.setdefault(why, [])
        if len(named) < NAMED:
            named.append(where)

    def merge(self, other: Troubles) -> None:
        """Adds what was met elsewhere."""
        self.count += other.count
        for why, count in other.kinds.items():
            kept = why if why in self.kinds or len(self.kinds) < KINDS else "other"
            self.kinds[kept] += count
            named = self.lines.setdefault(kept, [])
            named += other.lines.get(why, [])[: NAMED - len(named)]


class Log:
    """What was read so far. Logs may follow each other, in any order of their times."""

    def __init__(self, declared: Declared | None = None, pinned: tuple[str, ...] = (), *, most: int = MOST) -> None:
        """`pinned`: patterns of routes, whose words stay words."""
        self.templates = Templates(pinned, most=most)
        self.table: Table = _Table(ENTRIES)
        self.table.rest = LoggedFigures()
        self.troubles = Troubles()
        self.first: float | None = None
        self.last: float | None = None
        """Unix seconds."""
        self.lines = 0
        """That were read, empty ones left out."""
        self._declared = declared
        self._waiting: list[Hit] | None = []
        self._held = 0
        """Bytes of lines that wait."""

    def read(self, reader: Reader, lines: list[bytes], name: str, number: int) -> None:
        """Some lines of the log `name`, of which the first is line `number`. 9 µs each, and more of paths that each come once."""
        hit, hear = reader.hit, self._count if self._waiting is None else self._wait
        for index, line in enumerate(lines):
            try:
                hear(hit(line))
            except LineError as error:
                if line.strip():
                    self.lines += 1
                    self.troubles.add(f"{name}:{number + index}", str(error))

    def _wait(self, hit: Hit) -> None:
        if self._waiting is None:  # since the line before
            self._count(hit)
            return
        self._waiting.append(hit)
        self._held += sum(len(group) for group in hit.groups if group is not None)
        if len(self._waiting) >= FIRST or self._held >= _FIRST_BYTES:
            self.settle()

    def settle(self) -> None:
        """Counts what still waits. To be called once all is read."""
        waiting, self._waiting = self._waiting, None
        for hit in waiting or ():
            self._template(hit)
        for hit in waiting or ():
            self._count(hit)

    def _template(self, hit: Hit) -> str:
        path = hit.target.partition(b"?")[0]
        if self._declared is not None and (found := self._declared.template(path)) is not None:
            return found
        return self.templates.learn(path, hit.status is None or knows(hit.status), hit.at or 0.0)

    def _count(self, hit: Hit) -> None:
        self.lines += 1
        at, seconds = hit.at, hit.seconds
        if at is not None:
            if self.last is None or at > self.last:
                self.last = at
            if self.first is None or at < self.first:
                self.first = at
        cost = 1.0 if seconds is None else 1.0 + SECOND * seconds
        cast("LoggedFigures", self.table.at((method_of(hit.method), self._template(hit)), cost)).note(hit, seconds)

    def sprout(self) -> Log:
        """Another that knows what this one has learned, and has counted nothing: for a process that reads a part. To be merged again."""
        other = Log(self._declared)
        other.templates, other._waiting = self.templates, None
        return other

    def packed(self) -> Log:
        """For another process, which knows itself what is declared. Nothing more is read into it."""
        self._declared = None
        return self

    def merge(self, other: Log) -> None:
        """Adds what a sprout counted, in another process, and what it learned."""
        self.templates.merge(other.templates)
        self.table.merge(other.table)
        self.troubles.merge(other.troubles)
        self.lines += other.lines
        self.first = min((each for each in (self.first, other.first) if each is not None), default=None)
        self.last = max((each for each in (self.last, other.last) if each is not None), default=None)

    @property
    def settled(self) -> bool:
        """Nothing waits any more: from now on another process may read a part."""
        return self._waiting is None

    @property
    def seconds(self) -> float | None:
        """From the first request to the last; None: the log has no times."""
        return None if self.first is None or self.last is None else max(1.0, self.last - self.first)

    def listing(self, *, order: str = "time", limit: int = 50) -> dict[str, Any]:
        """As GET /top says it, with what only a log is asked for."""
        figures: dict[Key, Figures] = {}
        missed: dict[Key, float] = {}
        total = LoggedFigures()
        total.merge(self.table.rest)
        for (method, template), entry in self.table.entries.items():
            declared = self._declared is not None and template in self._declared
            key = (method, template if declared else self.templates.generalised(template))
            figures.setdefault(key, LoggedFigures(targets=Distinct())).merge(entry.figures)
            missed[key] = missed.get(key, 0.0) + entry.missed
            total.merge(entry.figures)
        told = listed(figures, missed, self.table.rest, self.seconds or 1.0, order=order, limit=limit)
        timed = total.timed >= TIMED * total.count
        for one in told["endpoints"]:
            found = cast("LoggedFigures", figures[one["method"], one["template"]])
            one |= {
                "users": _share(found.users, found.count),
                "etag": _share(found.tagged, found.count) if total.tagged else None,
                "repeats": None if one["method"] not in SAFE or found.repeats is None else round(found.repeats, 3),
                "timed": timed,
                "declared": self._declared is not None and one["template"] in self._declared,
            }
            login = None if self._declared is None else self._declared.login(one["method"], one["template"])
            one["login"], one["login_why"] = traits.login(one, login)
        if self.seconds is None:
            for one in (*told["endpoints"], told["rest"], told["total"]):
                one["rps"] = None
        return told | {"seconds": self.seconds, "timed": _share(total.timed, total.count)}


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
