"""What holds for every test."""

import gc
import os
import sys
from itertools import islice

import hypothesis
import pytest

from gateway import compiled
from tests.support import conformance, edge_page, soak, specification

# How long an example takes says how busy the machine is, and nothing of what it tries.
hypothesis.settings.register_profile("banyan", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("banyan")


def pytest_configure(config: pytest.Config) -> None:
    if compiled.state() == "stale":
        pytest.exit("the compiled edge engine is older than its sources: run `make setup`, or `python -m gateway.compiled --clean`", 2)
    # These tests start some thousand Python processes. Where the environment forbids to keep what was compiled, as images for containers
    # do, each compiles all that it imports anew: twice the CPU of its start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


LONG = (
    "tests/bench/test_scenarios.py",
    "tests/demo/test_script.py",
    "tests/integration/test_guard.py",
    "tests/shadow/test_jetstream.py",
    "tests/test_tutorial.py",
    "tests/console/test_news.py",
    "tests/events/test_in_step.py",
    "tests/integration/test_reload.py",
    "tests/console/test_hostile_pages.py",
    "tests/integration/test_faults",
    "tests/demo/test_live.py",
    "tests/drills/",
    "tests/integration/test_unleash_",
    "tests/console/test_operate_live.py",
    "tests/console/test_live.py",
    "tests/integration/test_secrets.py",
    "tests/console/test_korean_live.py",
    "tests/integration/test_overload.py",
    "tests/console/test_flags_live.py",
    "tests/integration/test_start.py",
    "tests/integration/test_shipping",
    "tests/integration/test_flags_command.py",
    "tests/events/",
)
"""Files that take long, the longest first. Much of what they take is waiting."""
BETWEEN = 5
"""So many other files come between two long ones."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin early, so that none is left for one process at the end, while the others are idle; and not all at once, since three
    processes that wait leave both cores idle: beside one that waits the others compute."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    ranks = {file: next((rank for rank, begin in enumerate(LONG) if file.startswith(begin)), None) for file in files}
    long = sorted((file for file in files if ranks[file] is not None), key=lambda file: ranks[file] or 0)
    others = iter([file for file in files if ranks[file] is None])
    order = [name for file in long for name in (file, *islice(others, BETWEEN))]
    items[:] = [item for file in (*order, *others) for item in files[file]]


def pytest_collection_finish() -> None:
    """What was collected stays until the end: some hundred thousand objects, which nobody needs to walk again and again."""
    gc.collect()
    gc.freeze()


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
