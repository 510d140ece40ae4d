"""What the comparison found, read from the gateway's own store while it is being written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.config import Config, load

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.gate import GateResult
    from shadow.report import RouteReport


class FiguresError(RuntimeError):
    """The store cannot be read. The message says why."""


class Figures:
    """Of the gateway that runs with the configuration in `path`. One in a process, since Django has one database."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            FiguresError: their store cannot be opened.
        """
        from shadow import store

        self._config: Config = load(path)
        try:
            store.setup(self._config.shadow.database, self._config.folder)
        except (*store.FAILURES, OSError) as error:
            raise FiguresError(f"the comparisons cannot be read: {str(error).strip()}") from error

    def reports(self, names: Iterable[str], since: float) -> list[RouteReport]:
        """Of each route, since `since` (Unix seconds).

        Raises:
            FiguresError: they cannot be read.
        """
        from shadow import report, store

        try:
            return report.summaries(names, since)
        except store.FAILURES as error:
            raise FiguresError(f"the comparisons cannot be read: {str(error).strip()}") from error

    def gate(self, counted: RouteReport) -> GateResult:
        """The route's own gate on what was counted."""
        from shadow import report

        rules = next(route.gate for route in self._config.routes if route.name == counted.route)
        return report.gate_of(counted, minimum=rules.minimum, match=rules.match, coverage=rules.coverage)
