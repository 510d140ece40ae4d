"""How much of legacy is left: traffic and endpoints, what nobody asks for any more, and which routes' code can go, with the evidence.

All traffic comes from what the gateway tells of its endpoints (shadow/endpoint_store.py), so it is known only of times in which a console
kept that. A route's evidence comes from its own counters, which are kept wherever the shadow runs. In doubt nothing is ready to be removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.config import Config
from gateway.endpoints.claims import Claims
from gateway.endpoints.declared import Declared, sample
from gateway.endpoints.shapes import ANY, DATE, EMAIL, HASH, ID, TOKEN, UUID, shape
from gateway.endpoints.templates import REST
from gateway.settings.routes import Route
from shadow import counters, endpoint_store, report, sums
from shadow.gate import GateResult
from shadow.models import GuardTrip

DAY: Final = 86400
DAYS: Final = 7
MOST_DAYS: Final = 365
LEAST: Final = 100
"""Requests of a route: fewer show nothing."""
REFUSED: Final = 0.001
"""Share of a route's requests that the gateway itself may have answered, with an error."""

_SHAPES: Final = frozenset((ID, UUID, HASH, DATE, EMAIL, TOKEN))
_UNASKED: Final = {"covered": 1, "dead": 2}

type State = Literal["legacy", "both", "candidate", "covered", "dead"]

WORDS: Final = {
    "served": "the candidate answered every one of its {count:,} requests of these {days:g} days",
    "few": "it had {count:,} requests in these {days:g} days: fewer than {least} show nothing",
    "legacy": "legacy answered {share:.2%} of its {count:,} requests of these {days:g} days",
    "daily": "it had requests on each of these {days:g} days",
    "not-daily": "it had requests on {with_requests} of these {days:g} days",
    "no-fallbacks": "it never fell back to legacy",
    "fallbacks": "it fell back to legacy {count:,} times",
    "answered": "the gateway itself hardly ever had to answer",
    "refused": "the gateway itself answered {share:.2%} with an error: neither of the two could",
    "matched": "{matched:,} of {compared:,} comparisons matched, and its gate is passed",
    "unproven": "its gate is not passed: {why}",
    "uncompared": "nothing of it that is kept was compared",
    "untripped": "its guard never turned it off",
    "tripped": "its guard turned it off {count} times",
}
"""Each piece of evidence in English, with what is put in."""
_GOOD: Final = frozenset(("served", "daily", "no-fallbacks", "answered", "matched", "untripped"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that is known of a route."""

    code: str
    """A key of WORDS."""
    values: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """It speaks for removing legacy's code."""
        return self.code in _GOOD

    def __str__(self) -> str:
        return WORDS[self.code].format(**self.values)


@dataclass(frozen=True, slots=True)
class RouteNote:
    """Whether what legacy has for a route can be removed."""

    name: str
    match: str
    methods: tuple[str, ...]
    """Empty: all."""
    evidence: tuple[Evidence, ...]
    gate: GateResult
    """What "matched" or "unproven" rests on."""

    @property
    def ready(self) -> bool:
        """Everything speaks for it."""
        return all(each.good for each in self.evidence)


@dataclass(frozen=True, slots=True)
class Left:
    """One endpoint."""

    method: str
    template: str
    route: str
    """"" for none."""
    state: State
    """Who answered it within the span; dead: nobody asked; covered: nobody did by this name, but what was asked for may have been it."""
    legacy: float
    candidate: float
    """Requests within the span."""
    seen: float
    """Unix seconds: after that nothing of its own was kept."""
    covered: str = ""
    """The template that was asked for and that its paths have, too: they may have become values there, or be too rare for a name."""


@dataclass(frozen=True, slots=True)
class Day:
    """One day's requests; what the gateway answered itself is in neither."""

    at: int
    """Unix seconds at which it begins, in UTC."""
    legacy: float
    candidate: float

    @property
    def share(self) -> float | None:
        """Legacy's; None: there were none."""
        whole = self.legacy + self.candidate
        return self.legacy / whole if whole else None


@dataclass(frozen=True, slots=True)
class Burndown:
    """All of it."""

    now: float
    days: float
    since: float
    """Unix seconds since when anything of all traffic is kept; 0: nothing is."""
    history: tuple[Day, ...]
    """Every day of which anything is kept, oldest first."""
    endpoints: tuple[Left, ...]
    """Those of the span, most of legacy first, then the covered and the dead."""
    rest: float
    """Requests of the span that are of no listed endpoint: one that is called dead may have been among them …"""
    rest_legacy: float
    """… and those of them that legacy answered."""
    routes: tuple[RouteNote, ...]
    unasked: tuple[str, ...] | None
    """Templates that are declared and of which nothing is kept; None: nothing is declared."""

    @property
    def whole(self) -> bool:
        """Something is kept of before the span: what was not asked for in it can be called dead."""
        return 0 < self.since <= self.now - self.days * DAY

    @property
    def alive(self) -> list[Left]:
        """Those that were asked for; what is left over of many paths is no endpoint."""
        return [one for one in self.endpoints if one.state not in _UNASKED and not one.template.endswith("*")]

    @property
    def traffic_left(self) -> float | None:
        """Legacy's share of the requests of the span; None: there were none."""
        legacy = self.rest_legacy + sum(one.legacy for one in self.endpoints)
        whole = self.rest + sum(one.legacy + one.candidate for one in self.endpoints)
        return legacy / whole if whole else None

    @property
    def endpoints_left(self) -> float | None:
        """The share of endpoints that legacy still answers, if only at times."""
        alive = self.alive
        return sum(one.state != "candidate" for one in alive) / len(alive) if alive else None


def burndown(config: Config, days: float, now: float, declared: Declared | None = None) -> Burndown:
    """What is known at `now` (Unix seconds), looking `days` back.

    Raises:
        django.db.Error: the database refused.
    """
    since = now - days * DAY
    claims = Claims(config)
    by_day: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    counts: dict[tuple[str, str], list[float]] = {}
    routes: dict[tuple[str, str], str] = {}
    first, rest, rest_legacy = 0, 0.0, 0.0
    for at, width, key, figures in endpoint_store.spans():
        first = min(first, at) if first else at
        legacy, candidate = figures.sides.get("legacy", 0.0), figures.sides.get("candidate", 0.0)
        day = by_day[at // DAY * DAY]
        day[0] += legacy
        day[1] += candidate
        within = at + width > since
        if key == endpoint_store.REST:
            if within:
                rest += legacy + candidate
                rest_legacy += legacy
            continue
        count = counts.setdefault(key, [0.0, 0.0, 0.0])
        if within:
            count[0] += legacy
            count[1] += candidate
        count[2] = max(count[2], min(now, at + width))
        routes[key] = figures.route or routes.get(key, "")
    covers = _Covers(key for key, (_, _, seen) in counts.items() if seen > since)
    left = []
    for key, (legacy, candidate, seen) in counts.items():
        state = _state(legacy, candidate, seen, since)
        covered = covers.of(*key) if state == "dead" else ""
        left.append(Left(*key, claims.of(*key) or routes[key], "covered" if covered else state, legacy, candidate, seen, covered))
    left.sort(key=lambda one: (_UNASKED.get(one.state, 0), -one.legacy, -one.candidate, one.template, one.method))
    unasked = None
    if declared is not None:
        seen_templates = {declared.template(sample(template)) or "" for _, template in counts}
        unasked = tuple(declared.unasked(seen_templates))
    return Burndown(
        now,
        days,
        float(first),
        tuple(Day(at, *by_day[at]) for at in sorted(by_day)),
        tuple(left),
        rest,
        rest_legacy,
        tuple(_notes([route for route in config.routes if not route.split], days, now)),
        unasked,
    )


class _Covers:
    """Templates that were asked for and stand for more than one path: under them may be counted what has no name of its own any more."""

    def __init__(self, living: Iterable[tuple[str, str]]) -> None:
        """`living`: methods and templates."""
        self._whole: dict[tuple[str, int], list[list[str]]] = defaultdict(list)
        """By the method and the number of parts."""
        self._open: dict[str, list[list[str]]] = defaultdict(list)
        """Those that end in a star, by the method: the longest first."""
        for method, template in living:
            parts = template.split("/")
            if parts[-1] == REST:
                self._open[method].append(parts)
            elif "{" in template:
                self._whole[method, len(parts)].append(parts)
        for each in self._open.values():
            each.sort(key=len, reverse=True)

    def of(self, method: str, template: str) -> str:
        """The one that covers this endpoint; "": none does."""
        parts = template.split("/")
        for wide in self._whole.get((method, len(parts)), ()):
            if all(map(_covers, wide, parts)):
                return "/".join(wide)
        for wide in self._open.get(method, ()):
            if len(wide) <= len(parts) and all(map(_covers, wide[:-1], parts)):
                return "/".join(wide)
        return ""


def _covers(wide: str, part: str) -> bool:
    """Whether a path with `part` in this place may be counted where `wide` stands in it."""
    if wide in (part, ANY):
        return True
    if not wide.startswith("{") or part.startswith("{"):
        return False
    return shape(part.encode()) == wide or (wide.endswith("}") and wide not in _SHAPES)  # a word is never taken for a number


def _state(legacy: float, candidate: float, seen: float, since: float) -> State:
    if seen <= since:
        return "dead"
    if candidate <= 0:
        return "legacy"
    return "both" if legacy > 0 else "candidate"


def _notes(routes: Sequence[Route], days: float, now: float) -> list[RouteNote]:
    since = now - days * DAY
    names = [route.name for route in routes]
    gates = report.gates({route.name: route.gate for route in routes}, now)
    # Since the switch nothing may have been compared: then what was before it counts.
    uncompared = [name for name, (_, gate) in gates.items() if not gate.compared and not gate.open]
    ever = {each.route: each for each in report.summaries(uncompared)} if uncompared else {}
    with_requests: dict[str, set[int]] = defaultdict(set)
    lately: dict[str, Counter[str]] = defaultdict(Counter)
    step = 3600
    for name, at, what, count in sums.by_step(names, since, now + 1, step, counters.SERVED):
        lately[name][what] += count
        if count:
            with_requests[name].add(int((at + step / 2 - since) // DAY))
    trips: dict[str, int] = defaultdict(int)
    for name in GuardTrip.objects.filter(at__gte=since, route__in=names).values_list("route", flat=True):
        trips[name] += 1
    found = []
    for route in routes:
        counted, terms = lately[route.name], route.gate
        fallbacks = counted[counters.FALLBACK]
        _, gate = gates[route.name]
        if route.name in ever:
            gate = report.gate_of(ever[route.name], minimum=terms.minimum, match=terms.match, coverage=terms.coverage)
        spread = len({day for day in with_requests[route.name] if 0 <= day < days})
        evidence = (
            _served(counted, days),
            Evidence("daily" if spread >= days else "not-daily", {"days": days, "with_requests": spread}),
            Evidence("fallbacks" if fallbacks else "no-fallbacks", {"count": fallbacks}),
            _answered(counted),
            Evidence("matched", {"matched": gate.matched, "compared": gate.compared})
            if gate.passed
            else Evidence("unproven", {"why": "; ".join(gate.reasons)})
            if gate.compared
            else Evidence("uncompared"),
            Evidence("tripped" if trips[route.name] else "untripped", {"count": trips[route.name]}),
        )
        found.append(RouteNote(route.name, route.match, tuple(route.methods), evidence, gate))
    return found


def _served(counted: Counter[str], days: float) -> Evidence:
    legacy = counted[counters.SERVED_LEGACY]
    answered = legacy + counted[counters.SERVED_CANDIDATE]
    if answered < LEAST:
        return Evidence("few", {"count": answered, "days": days, "least": LEAST})
    if legacy:
        return Evidence("legacy", {"count": answered, "days": days, "share": legacy / answered})
    return Evidence("served", {"count": answered, "days": days})


def _answered(counted: Counter[str]) -> Evidence:
    gateway = counted[counters.SERVED_GATEWAY]
    served = gateway + counted[counters.SERVED_LEGACY] + counted[counters.SERVED_CANDIDATE]
    share = gateway / served if served else 0.0
    return Evidence("refused", {"share": share}) if share > REFUSED else Evidence("answered")
