"""What holds for every test."""

import pytest

from gateway import compiled
from tests.support import edge_page, specification


def pytest_configure(config: pytest.Config) -> None:
    if compiled.state() == "stale":
        pytest.exit("the compiled edge engine is older than its sources: run `make setup`, or `python -m gateway.compiled --clean`", 2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of docs/reference/edge.md's behaviours hold, and of the cases of Unleash's specification, by what ran."""
    reports = {what: {report.nodeid for report in found if hasattr(report, "nodeid")} for what, found in terminalreporter.stats.items()}
    others = set().union(*(reports.get(what, set()) for what in ("failed", "error", "skipped", "xfailed", "xpassed")))
    passed = reports.get("passed", set()) - others
    for part, begin in ((edge_page, edge_page.CORPUS), (specification, specification.CASES)):
        if any(name.startswith(begin) for name in passed | others):
            terminalreporter.write_line(part.summary(passed, others))
