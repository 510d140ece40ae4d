"""The routes that the pages show: those of banyan.toml, where the console knows it, and all of which anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from console import gatewords, modes, needs
from console.configured import configuration as configuration  # where others look for it
from console.flagboard import Board, FlagView
from console.modes import Mode
from console.needs import Facts, Need
from gateway.config import Config
from gateway.settings.routes import Route
from shadow import latency, report
from shadow.gate import GateResult
from shadow.latency import SideFigures
from shadow.models import FlagChange, GuardTrip
from shadow.report import RouteReport
from shadow.states import BUG

LATELY_SECONDS = 60
"""What "now" means for a route's mode."""
TRIPS_SECONDS = 14 * 86400
"""How far back a guard's trip is looked for: one that nobody has answered stands."""
MAX_TRIPS = 500


@dataclass(frozen=True, slots=True)
class RouteView:
    """One route as the pages show it."""

    name: str
    match: str
    """Its path pattern; "" where the configuration is not known."""
    totals: RouteReport
    lately: RouteReport
    gate: GateResult | None
    """By its own window, whatever span the page shows."""
    flags: tuple[FlagView, ...] = ()
    """Those that decide about it."""
    split: bool = False
    """It has several providers: none of them is a candidate, and nothing is compared."""
    gate_since: float = 0.0
    """Unix seconds: what was compared before does not count for the gate."""
    mode: Mode = field(default_factory=lambda: Mode(modes.IDLE, _("no traffic")))
    need: Need = field(default_factory=lambda: Need(needs.Rank.NOTHING, ""))
    new: int = 0
    """Open signatures that nobody has judged, as the gate counts them; in the page's span where there is no gate."""
    bugs: int = 0

    @property
    def candidate_share(self) -> float | None:
        """Of what was answered lately."""
        return self.lately.candidate / self.lately.served if self.lately.served else None

    @property
    def comparing(self) -> bool:
        return self.lately.eligible > 0

    @property
    def missing(self) -> str:
        """What its gate needs, in words."""
        return gatewords.missing(self.gate, self.new, self.bugs) if self.gate else ""

    @property
    def conditions(self) -> list[gatewords.Condition]:
        """Its gate, explained."""
        return gatewords.conditions(self.gate, self.new, self.bugs) if self.gate else []

    @property
    def legacy(self) -> tuple[SideFigures, bool]:
        """Times and errors in the span, and whether they are of what was asked beside."""
        return latency.best(self.totals.sides, latency.LEGACY)

    @property
    def candidate(self) -> tuple[SideFigures, bool]:
        return latency.best(self.totals.sides, latency.CANDIDATE)

    @property
    def bar(self) -> int:
        """Width of the candidate's part, of 100."""
        return round(100 * self.totals.candidate / self.totals.served) if self.totals.served else 0


def views(
    names: list[str] | None, since: float, now: float, config: Config | None, board: Board | None, until: float | None = None
) -> list[RouteView]:
    """All routes, or those named; `config` is what `configuration` gives, `board` the flags'. The number of queries does not depend on how
    many routes there are."""
    configured = {route.name: route for route in config.routes} if config else {}
    if names is None:
        names = [*configured, *(name for name in report.known_routes() if name not in configured)]
    totals = report.summaries(names, since, until=until)
    lately = report.glances(names, now - LATELY_SECONDS)
    terms = {name: configured[name].gate for name in names if name in configured and not configured[name].split}
    gates = report.gates(terms, now, {total.route: total for total in totals} if until is None else None)
    trips = _standing(names, now)
    return [
        _view(total, lately[total.route], configured.get(total.route), gates.get(total.route), board, trips.get(total.route), config)
        for total in totals
    ]


def _view(
    total: RouteReport,
    lately: RouteReport,
    route: Route | None,
    gate: tuple[RouteReport, GateResult] | None,
    board: Board | None,
    trip: GuardTrip | None,
    config: Config | None,
) -> RouteView:
    judged, result = gate or (None, None)
    split = bool(route and route.split)
    flags = board.of(total.route) if board else ()
    counted = judged or total
    open_ = [*counted.signatures, *counted.unmended]
    bugs = sum(line.state == BUG for line in open_)
    new = len(open_) - bugs
    by_role = {flag.role: _flag(flag, board) for flag in flags}
    mode = modes.mode(
        by_role.get("serve", modes.Flag(None)),
        by_role.get("shadow", modes.Flag(None)),
        split=split,
        rolled_back=trip is not None,
        share=lately.candidate / lately.served if lately.served else None,
        comparing=lately.eligible > 0,
    )
    facts = Facts(
        total.route,
        mode,
        result,
        new,
        bugs,
        guard=trip.why if trip else "",
        problems=tuple(problem for flag in flags for problem in flag.problems),
        gateway_errors=lately.gateway,
        served=lately.served,
        candidate=latency.best(lately.sides, latency.CANDIDATE)[0],
        legacy=latency.best(lately.sides, latency.LEGACY)[0],
        eligible=lately.eligible,
        compared=total.compared,
        eligible_in_span=total.eligible,
        flag=route.serve_flag if route else "",
        where=(_("in Unleash") if config.flags.source == "unleash" else _("in the flag file")) if config else "",
    )
    return RouteView(
        total.route,
        route.match if route else "",
        total,
        lately,
        result,
        flags,
        split,
        judged.since if judged else 0.0,
        mode,
        needs.need(facts),
        new,
        bugs,
    )


def _flag(view: FlagView, board: Board | None) -> modes.Flag:
    definitions: Mapping[str, dict[str, Any]] = board.now.definitions if board and board.now else {}
    override = view.override.enabled if view.override else None
    return modes.Flag(view.on, definitions.get(view.name), override)


def _standing(names: list[str], now: float) -> dict[str, GuardTrip]:
    """The newest trip of each route, where nobody has turned its flag on again since."""
    newest: dict[str, GuardTrip] = {}
    for trip in GuardTrip.objects.filter(route__in=names, at__gte=now - TRIPS_SECONDS).order_by("-at", "-pk")[:MAX_TRIPS]:
        newest.setdefault(trip.route, trip)
    standing = {route: trip for route, trip in newest.items() if trip.outcome != "on-again"}
    if not standing:
        return {}
    first = min(trip.at for trip in standing.values())
    flags = {trip.flag for trip in standing.values()}
    on: dict[str, float] = {}
    for change in FlagChange.objects.filter(flag__in=flags, at__gt=first).order_by("at").only("flag", "at", "new"):
        if change.new and change.new.get("enabled"):
            on[change.flag] = change.at
    return {route: trip for route, trip in standing.items() if on.get(trip.flag, 0.0) <= trip.at}
