"""The last hour of one gateway, minute by minute: what workers tell of requests, templated and counted.

Everything is bounded: 60 minutes of ENTRIES endpoints each, and what Templates holds. A minute that is over does not change any more; when
a place of its paths became a parameter since, that is minded where it is read (`Templates.generalised`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.endpoints.figures import SAFE, Figures, Row, by_class, method_of
from gateway.endpoints.table import Key, Table
from gateway.endpoints.templates import Templates

MINUTES: Final = 60
ENTRIES: Final = 200
"""Endpoints of one minute."""
TOLD: Final = 60
"""Of a minute's, those that are told for keeping; the others are summed up."""
_DENIED: Final = frozenset((401, 403, 405, 406, 409, 412, 413, 415, 422, 423, 428, 429))
"""Answers of 4xx that only somebody gives who knows the path."""

ORDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], float]]] = {
    "time": lambda listed: listed["legacy_seconds"],
    "requests": lambda listed: listed["requests"],
    "errors": lambda listed: listed["errors_5xx"] * listed["requests"],
    "p95": lambda listed: listed["p95"] or 0.0,
}
"""By what endpoints are listed, greatest first."""


def knows(status: int) -> bool:
    """Whether whoever answers so knows the path that was asked for. 0: nobody answered."""
    return status > 0 and (status < 400 or status >= 500 or status in _DENIED)


class Written(msgspec.Struct, array_like=True):
    """One minute's figures as they lie in memory: a twentieth of what they would take as objects."""

    entries: list[tuple[str, str, float, Figures]]
    """Method, template, how much of its cost is missed at most, figures; what cost most first."""
    rest: Figures


@dataclass(slots=True)
class Minute:
    """One minute's figures."""

    at: int
    """Unix seconds at which it begins."""
    table: Table = field(default_factory=lambda: Table(ENTRIES))
    over: bytes = b""
    """Once it is: `written`, and the table is empty."""

    def written(self) -> bytes:
        """As it is now, encoded."""
        if self.over:
            return self.over
        entries = sorted(self.table.entries.items(), key=lambda item: -item[1].cost)
        return _encoder.encode(Written([(*key, entry.missed, entry.figures) for key, entry in entries], self.table.rest))

    def end(self) -> None:
        """It does not change any more."""
        self.over = self.written()
        self.table = Table(1)


class MinuteFigures(msgspec.Struct):
    """One minute as it is told for keeping."""

    at: int
    complete: bool
    endpoints: list[tuple[str, str, Figures]]
    """Method, template, figures."""
    rest: Figures
    """Of all others."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some minutes, oldest first, for a thread to work with."""

    seconds: float
    minutes: list[tuple[int, bool, bytes]]
    """When each begins, whether it is over, and what was `written` of it."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Written)


class Live:
    """See the module's docstring. Not thread-safe but for what says so."""

    def __init__(self, patterns: Iterable[str], now: float) -> None:
        """`patterns`: those of the routes. `now`, here as everywhere: Unix seconds."""
        self.templates = Templates(patterns)
        self.began = now
        self.told = 0
        """Requests that workers told of one by one …"""
        self.stood_for = 0.0
        """… and others, that those stand for."""
        self.displaced = {"entries": 0.0, "words": 0.0}
        """Requests that are counted, and under no endpoint of their own: a minute has ENTRIES, or no more words are learned."""
        self._minutes: deque[Minute] = deque(maxlen=MINUTES + 1)

    def hear(self, rows: Sequence[Row], total: int, now: float) -> None:
        """Requests that finished about now; they stand for `total` of them. 3 µs each, and up to 30 of paths that somebody makes up."""
        if not rows:
            return
        weight = max(1.0, total / len(rows))
        self.told += len(rows)
        self.stood_for += max(0, total - len(rows))
        table = self._minute(now).table
        templates, crowded, displaced = self.templates, self.templates.crowded, table.displaced
        for row in rows:
            known = row[3] != "gateway" and knows(row[4])
            table.add((method_of(row[0]), templates.learn(row[1], known, now)), row, weight)
        self.displaced["words"] += (templates.crowded - crowded) * weight
        self.displaced["entries"] += table.displaced - displaced

    def _minute(self, now: float) -> Minute:
        at = int(now) // 60 * 60
        if not self._minutes or self._minutes[-1].at < at:  # a clock that was put back adds to the newest
            if self._minutes:
                self._minutes[-1].end()
            self._minutes.append(Minute(at))
        return self._minutes[-1]

    def span(self, minutes: int, now: float) -> Span:
        """The last `minutes` whole minutes, with the one that is under way: for `listing`."""
        first = int(now) // 60 * 60 - 60 * minutes
        return Span(max(1.0, now - max(float(first), self.began)), self._written(first, now))

    def after(self, at: int, now: float) -> Span:
        """Those that begin after `at`, and the one that is under way in any case: for `told`."""
        return Span(0.0, [each for each in self._written(0, now) if each[0] > at or not each[1]])

    def _written(self, first: int, now: float) -> list[tuple[int, bool, bytes]]:
        current = int(now) // 60 * 60
        return [(minute.at, minute.at < current, minute.written()) for minute in self._minutes if minute.at >= first]


def _copy(figures: Figures) -> Figures:
    copied = Figures()
    copied.merge(figures)
    return copied


def told(span: Span, templates: Templates) -> list[MinuteFigures]:
    """What GET /top/minutes says. Of `templates` it only reads, so that it may run in a thread, as `listing`."""
    found = []
    for at, over, written in span.minutes:
        minute = _decoder.decode(written)
        united: dict[Key, Figures] = {}
        for index, (method, template, _, figures) in enumerate(minute.entries):
            if index >= TOLD:
                minute.rest.merge(figures)
            elif (known := united.get(key := (method, templates.generalised(template)))) is not None:
                known.merge(figures)
            else:
                united[key] = figures
        endpoints = [(method, template, figures) for (method, template), figures in united.items()]
        found.append(MinuteFigures(at, over, endpoints, minute.rest))
    return found


def listing(span: Span, templates: Templates, *, order: str = "time", limit: int = 50) -> dict[str, Any]:
    """What GET /top says. Takes some 10 µs for each endpoint of each minute: in a thread, which only reads `templates`."""
    figures: dict[Key, Figures] = {}
    missed: dict[Key, float] = {}
    rest = Figures()
    for _, _, written in span.minutes:
        minute = _decoder.decode(written)
        rest.merge(minute.rest)
        for method, template, lost, each in minute.entries:
            key = (method, templates.generalised(template))
            figures.setdefault(key, Figures()).merge(each)
            missed[key] = missed.get(key, 0.0) + lost
    return listed(figures, missed, rest, span.seconds, order=order, limit=limit)


def listed(
    figures: Mapping[Key, Figures], missed: Mapping[Key, float], rest: Figures, seconds: float, *, order: str = "time", limit: int = 50
) -> dict[str, Any]:
    """The same of figures wherever they come from. `rest` is what is in none of them; what finds no place below `limit` is added to it."""
    total = _copy(rest)
    methods: dict[str, list[str]] = {}
    for (method, template), each in figures.items():
        total.merge(each)
        methods.setdefault(template, []).append(method)
    found = [
        {
            "method": method,
            "template": template,
            "safe": method in SAFE,
            "methods": sorted(methods[template]),
            **described(each, total, seconds),
            "missed": round(missed.get((method, template), 0.0), 1),
        }
        for (method, template), each in figures.items()
    ]
    found.sort(key=lambda one: (-ORDERS[order](one), -one["requests"], one["template"], one["method"]))
    left = _copy(rest)
    for one in found[limit:]:
        left.merge(figures[one["method"], one["template"]])
    return {
        "seconds": round(seconds, 1),
        "order": order,
        "endpoints": found[:limit],
        "known": len(found),
        "rest": described(left, total, seconds),
        "total": described(total, total, seconds),
    }


def described(figures: Figures, total: Figures, seconds: float) -> dict[str, Any]:
    """Figures in words. `total`: of everything, in `seconds`."""
    return {
        "requests": round(figures.count),
        "rps": round(figures.count / seconds, 3),
        "share": _share(figures.count, total.count),
        "legacy_seconds": round(figures.legacy, 3),
        "legacy_share": _share(figures.legacy, total.legacy),
        "served_by": {side: round(count) for side, count in sorted(figures.sides.items())},
        "statuses": {str(status): round(count) for status, count in sorted(figures.statuses.items())},
        "classes": {name: round(count) for name, count in sorted(by_class(figures.statuses).items())},
        "errors_4xx": round(figures.share(400, 499), 4),
        "errors_5xx": round(figures.share(500, 599), 4),
        "cut_off": round(figures.share(0, 0), 4),
        "p50": _rounded(figures.quantile(0.5)),
        "p95": _rounded(figures.quantile(0.95)),
        "p99": _rounded(figures.quantile(0.99)),
        "sides": {
            side: {"p50": _rounded(figures.quantile_of(side, 0.5)), "p95": _rounded(slow)}
            for side in ("legacy", "candidate")
            if (slow := figures.quantile_of(side, 0.95)) is not None
        },
        "route": figures.route or None,
        "routes": {name: round(count) for name, count in sorted(figures.routes.items())},
        "cacheable": _rounded(figures.cacheable),
    }


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
