"""The routes that the pages show: those of banyan.toml, where the console knows it, and all of which anything is stored."""

from __future__ import annotations

from dataclasses import dataclass

from console.configured import configuration as configuration  # where others look for it
from console.flagboard import Board, FlagView
from gateway.config import Config
from shadow import report
from shadow.gate import GateResult
from shadow.report import RouteReport

LATELY_SECONDS = 60
"""What "now" means for a route's mode."""


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

    @property
    def candidate_share(self) -> float | None:
        """Of what was answered lately."""
        return self.lately.candidate / self.lately.served if self.lately.served else None

    @property
    def comparing(self) -> bool:
        return self.lately.eligible > 0

    @property
    def bar(self) -> int:
        """Width of the candidate's part, of 100."""
        return round(100 * self.totals.candidate / self.totals.served) if self.totals.served else 0


def views(names: list[str] | None, since: float, now: float, config: Config | None, board: Board | None) -> list[RouteView]:
    """All routes, or those named; `config` is what `configuration` gives, `board` the flags'."""
    configured = {route.name: route for route in config.routes} if config else {}
    if names is None:
        names = [*configured, *(name for name in report.known_routes() if name not in configured)]
    totals = report.summaries(names, since)
    lately = report.summaries(names, now - LATELY_SECONDS)
    gates = report.gates({name: configured[name].gate for name in names if name in configured and not configured[name].split}, now)
    found = []
    for total, late in zip(totals, lately, strict=True):
        route = configured.get(total.route)
        split = bool(route and route.split)
        judged, gate = gates.get(total.route, (None, None))
        flags = board.of(total.route) if board else ()
        found.append(RouteView(total.route, route.match if route else "", total, late, gate, flags, split, judged.since if judged else 0.0))
    return found
