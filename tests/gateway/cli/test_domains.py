"""`banyan domains`: what it says of routes and of an access log, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.cli.test_comparison import banyan

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[gateway]
admin = "127.0.0.1:1"
[domains]
order = ["items", "reviews"]
enforce = "off"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""
CALL = '{"caller_domain": "%s", "domain": "%s"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(TOML)
    (tmp_path / "good.log").write_text(CALL % ("reviews", "items") * 3)
    (tmp_path / "bad.log").write_text(CALL % ("reviews", "items") + CALL % ("items", "reviews"))
    return tmp_path


def test_routes_alone(folder: Path) -> None:
    assert banyan(folder, "domains", "--lint").returncode == 0
    (folder / "banyan.toml").write_text(TOML.replace("/api/v1/reviews", "/reviews"))
    done = banyan(folder, "domains", "--lint")
    assert done.returncode == 1
    assert "route reviews (/reviews/*): its path is not /api/{version}/{domain}/" in done.stdout


def test_calls_of_a_log(folder: Path) -> None:
    done = banyan(folder, "domains", "--log", str(folder / "good.log"), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["cycles"]) == (0, True, [])
    assert told["calls"] == [{"caller": "reviews", "domain": "items", "calls": 3, "verdict": "with"}]
    done = banyan(folder, "domains", "--log", str(folder / "bad.log"))
    assert done.returncode == 1
    assert "circle: items -> reviews -> items" in done.stdout


@pytest.mark.parametrize(("form", "begin"), [("dot", "digraph domains {"), ("svg", "<svg ")])
def test_drawings(folder: Path, form: str, begin: str) -> None:
    done = banyan(folder, "domains", "--log", str(folder / "bad.log"), "--format", form)
    assert (done.returncode, done.stdout.startswith(begin)) == (1, True)


@pytest.mark.parametrize("form", ["text", "dot", "svg"])
def test_a_log_does_nothing_to_a_terminal(folder: Path, form: str) -> None:
    hostile = [CALL % ("re\\u001b[2Jviews", end) for end in ("items\\u0007", "items\\u202e", "items\\ud800")]
    (folder / "hostile.log").write_text("".join(hostile))
    done = banyan(folder, "domains", "--log", str(folder / "hostile.log"), "--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    assert "re�[2Jviews" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
    told = json.loads(banyan(folder, "domains", "--log", str(folder / "hostile.log"), "--json").stdout)
    assert [(call["domain"], call["calls"]) for call in told["calls"]] == [("items�", 3)]


def test_wrong_use_is_said(folder: Path) -> None:
    nobody = banyan(folder, "domains")
    assert (nobody.returncode, "no gateway answers at 127.0.0.1:1" in nobody.stderr, "--lint" in nobody.stderr) == (1, True, True)
    both = banyan(folder, "domains", "--lint", "--log", "x")
    assert (both.returncode, "give one of them" in both.stderr) == (2, True)
    lost = banyan(folder, "domains", "--log", str(folder / "none.log"))
    assert (lost.returncode, "cannot be read" in lost.stderr) == (2, True)
    (folder / "banyan.toml").write_text(TOML.partition("[domains]")[0])
    none = banyan(folder, "domains", "--lint")
    assert (none.returncode, "there is no order of domains" in none.stderr) == (2, True)
