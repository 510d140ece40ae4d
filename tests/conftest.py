"""What holds for every test."""

import os
import sys

import pytest

from gateway import compiled
from tests.support import conformance, edge_page, soak, specification


def pytest_configure(config: pytest.Config) -> None:
    if compiled.state() == "stale":
        pytest.exit("the compiled edge engine is older than its sources: run `make setup`, or `python -m gateway.compiled --clean`", 2)
    # These tests start some thousand Python processes. Where the environment forbids to keep what was compiled, as images for containers
    # do, each compiles all that it imports anew: twice the CPU of its start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


LONG = (
    "tests/demo/",
    "tests/bench/test_scenarios.py",
    "tests/integration/test_unleash_",
    "tests/integration/test_flags_command.py",
    "tests/integration/test_guard.py",
    "tests/integration/test_start.py",
    "tests/integration/test_reload.py",
    "tests/console/test_flags_live.py",
    "tests/integration/test_shipping",
    "tests/events/",
    "tests/drills/test_events.py",
    "tests/shadow/test_jetstream.py",
    "tests/test_tutorial.py",
)
"""Files that take long, with few tests. By themselves these would come last, one process with three minutes of them and the other idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of docs/reference/edge.md's behaviours hold, and of the cases of Unleash's specification, by what ran; and how many tests of
    conformance there were for each engine."""
    reports = {what: {report.nodeid for report in found if hasattr(report, "nodeid")} for what, found in terminalreporter.stats.items()}
    others = set().union(*(reports.get(what, set()) for what in ("failed", "error", "skipped", "xfailed", "xpassed")))
    passed = reports.get("passed", set()) - others
    for part, begin in ((edge_page, edge_page.CORPUS), (specification, specification.CASES), (conformance, conformance.FOLDER)):
        if any(name.startswith(begin) for name in passed | others):
            terminalreporter.write_line(part.summary(passed, others))
    for line in soak.summary():
        terminalreporter.write_line(line)
