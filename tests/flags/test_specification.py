"""Unleash's public client specification, all of it, by the way that a request's decision takes: each case is one test.

A document enters as it would from Unleash or from a file. What the specification gives as a delta's events (19 and 20; the gateway never
asks for those) becomes a document in Unleash's own engine first. Each question is asked twice in a row, so that what was remembered answers
the second time, and once more after every other case of its file has been asked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from yggdrasil_engine.engine import UnleashEngine

from flags.decisions import Decisions
from flags.features import normalised, revision
from flags.snapshot import Context, Snapshot
from tests.support.flags import OPERATORS
from tests.support.specification import LOCK, VERSION, Case, cases, folder

SPECIFICATIONS = folder()
CASES = list(cases(SPECIFICATIONS))


def document(state: Mapping[str, Any]) -> bytes:
    data = json.dumps(state, ensure_ascii=False).encode()
    if "events" in state:
        engine = UnleashEngine()
        engine.take_state(data.decode())
        data = engine.get_state().encode()
    return normalised(data)


@cache
def decisions(file: str, app_name: str, environment: str) -> Decisions:
    data = document(next(case.state for case in CASES if case.file == file))
    snapshot = Snapshot(revision=revision(data), features=data, source="unleash", fetched_at=0.0)
    return Decisions.build(snapshot, app_name=app_name, environment=environment)


def of(case: Case) -> tuple[Decisions, Context]:
    """One gateway has one name and one environment; a case that names none meets a gateway with the usual ones."""
    given = dict(case.context)
    fixed = {name: given.pop(name, usual) for name, usual in (("appName", "banyan"), ("environment", "default"))}
    context = Context(
        user_id=given.pop("userId", None),
        session_id=given.pop("sessionId", None),
        remote_address=given.pop("remoteAddress", None),
        properties=given.pop("properties", {}),
        current_time=given.pop("currentTime", None),
    )
    assert not given, "a field of the context that we would not pass on"
    return decisions(case.file, fixed["appName"], fixed["environment"]), context


def answer(case: Case) -> bool | dict[str, Any]:
    by, context = of(case)
    if isinstance(case.expected, bool):
        return by.enabled(case.flag, context)
    found = by.variant(case.flag, context)
    said: dict[str, Any] = {"name": found.name, "enabled": found.enabled, "feature_enabled": found.feature_enabled}
    if found.payload is not None:
        said["payload"] = {"type": found.payload[0], "value": found.payload[1]}
    return said


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.file}: {case.description}") for case in CASES])
def test_specification(case: Case) -> None:
    assert answer(case) == case.expected
    assert answer(case) == case.expected


@pytest.mark.parametrize("file", sorted({case.file for case in CASES}))
def test_what_was_remembered_for_others_changes_nothing(file: str) -> None:
    of_file = [case for case in CASES if case.file == file]
    for order in (of_file, of_file[::-1], of_file):
        assert [answer(case) for case in order] == [case.expected for case in order]


@pytest.mark.parametrize("count", [pytest.param(len(CASES), id=f"{len(CASES)} cases of version {VERSION}")])
def test_it_is_all_of_it(count: int) -> None:
    """Counted in the files themselves, not by what read them."""
    files = sorted(path for path in SPECIFICATIONS.glob("*.json") if path.name != "index.json")
    assert Counter(case.file for case in CASES) == {path.stem: path.read_text().count('"expectedResult"') for path in files}
    assert len(files) >= 22
    assert count >= 279


def test_it_has_no_operator_that_our_own_tests_leave_out() -> None:
    """What they ask of memory and engine (tests/support/flags.py) is as wide as the specification."""
    found = {operator for case in CASES for operator in re.findall(r'"operator": "([A-Z_]+)"', json.dumps(case.state))}
    assert found - {"NOT_A_VALID_OPERATOR"} == OPERATORS - {"NO_SUCH_OPERATOR"}


class Counting:
    """Unleash's engine, and how often it was asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.asked = 0

    def check_enabled(self, flag: str, context: dict[str, Any]) -> Any:
        self.asked += 1
        return self._engine.check_enabled(flag, context)

    def check_variant(self, flag: str, context: dict[str, Any]) -> Any:
        self.asked += 1
        return self._engine.check_variant(flag, context)


def test_the_second_time_memory_answers_most_of_it() -> None:
    """Or "twice in a row" would prove nothing. The rest has no user to be sticky by, rolls dice, or looks at dates."""
    decisions.cache_clear()
    again = 0
    for case in CASES:
        by, _ = of(case)
        if not isinstance(by._engine, Counting):
            by._engine = Counting(by._engine)
        answer(case)
        before = by._engine.asked
        answer(case)
        again += by._engine.asked - before
    assert 0 < again < 0.2 * len(CASES)


def test_its_lock_file_pins_it_and_names_no_address() -> None:
    lock = (LOCK / "package-lock.json").read_text()
    assert "://" not in lock
    assert "resolved" not in lock
    assert f'"@unleash/client-specification": "{VERSION}"' in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/') == 1
