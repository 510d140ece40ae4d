"""The story for real, as `banyan demo --script --json` tells it: each measured value is looked at again here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo.processes import python
from demo.shop import USERS
from services.faults import Fault, expected
from tests.support.unleash import required

pytestmark = pytest.mark.timeout(300)

VARIANTS = [
    pytest.param([], id="edge"),
    pytest.param(["--engine", "mitmproxy"], id="mitmproxy"),
    pytest.param(["--unleash"], id="unleash", marks=pytest.mark.unleash),
]


@pytest.fixture(scope="module", params=VARIANTS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if "--unleash" in request.param:
        required()
    folder: Path = tmp_path_factory.mktemp("story")
    with (folder / "stderr").open("wb") as progress:
        command = python("-m", "gateway.cli", "demo", "--script", "--json", *request.param)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=progress, timeout=290, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["engine"] == ("mitmproxy" if "mitmproxy" in request.param else "edge")
    assert result["flags"] == ("unleash" if "--unleash" in request.param else "file")
    assert done.returncode == (0 if result["ok"] else 1), (folder / "stderr").read_text()
    return result


def test_every_step_went_as_expected_in_time(told: dict[str, Any]) -> None:
    assert [(step["number"], step["ok"], step["seen"]) for step in told["steps"] if not step["ok"]] == []
    assert len(told["steps"]) == 7
    assert told["ok"]
    assert told["error"] == ""
    assert told["seconds"] <= 120
    assert sum(step["measured"]["failed_requests"] for step in told["steps"]) == 0


def test_the_measured_values_say_the_same(told: dict[str, Any]) -> None:
    legacy, faults, clean, ten, hundred, killed, off = (step["measured"] for step in told["steps"])
    assert legacy["legacy"] == legacy["answers"] >= 100
    assert legacy["identical"] >= 60
    assert {tuple(signature) for signature in faults["signatures"]} == expected(Fault)
    assert all(0 < rate < 1 for rate in faults["match_rate"].values())
    for route in ("reviews", "recommendations"):
        assert clean[route]["matched"] == clean[route]["compared"] >= 300
        assert clean[route]["lower_bound"] >= 0.98
    assert 4 <= ten["users_percent"] <= 16
    assert 4 <= ten["requests_percent"] <= 16
    assert set(ten["users"]) < set(USERS)
    assert hundred["legacy_saw"] == 0
    assert hundred["legacy_saw_others"] > 0
    assert hundred["candidate"] == hundred["answers"] >= 100
    assert killed["failed"] == 0
    assert killed["legacy"] == killed["answers_after"] >= 50
    assert any(reason.startswith("fallback-") for reason in killed["reasons"])
    assert off["candidate_before"] > 0
    assert off["bar_seconds"] == (2.0 if told["flags"] == "unleash" else 1.0)
    assert 0 <= off["seconds"] <= off["bar_seconds"]
