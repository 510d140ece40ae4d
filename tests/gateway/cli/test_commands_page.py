"""docs/reference/commands.md has every verb of flags and signatures, and every option, of them, explain, gate, report, replay and capture;
rules.md those of rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from demo.processes import python

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
PAGE = REFERENCE / "commands.md"


VERBS = ["flags list", "flags on", "flags off", "flags set", "flags sync", "flags override", "explain", "gate", "report"]
VERBS += ["signatures list", "signatures show", "signatures set", "mark", "console users list"]
VERBS += ["top", "burndown", "capture", "replay"]
VERBS += ["init", "doctor"]
VERBS += ["payments in-doubt", "payments settle", "payments settled", "domains"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_names_the_verb_and_its_options(verb: str) -> None:
    done = subprocess.run(python("-m", "gateway.cli", *verb.split(), "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +\*? *(--[a-z-]+)", done.stdout))
    assert {"--config", "--json"} <= options
    page = PAGE.read_text()
    assert f"{verb} " in page or f"{verb}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


def test_the_page_names_the_options_of_inspect() -> None:
    done = subprocess.run(python("-m", "gateway.cli", "inspect", "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +(--[a-z]+)", done.stdout))
    assert options == {"--config", "--port", "--keep", "--body", "--credentials"}
    page = PAGE.read_text()
    assert "`banyan inspect`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


def test_the_page_names_the_options_of_shadow() -> None:
    done = subprocess.run(python("-m", "gateway.cli", "shadow", "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", done.stdout))
    assert {"--config", "--metrics"} <= options
    page = PAGE.read_text()
    assert "`banyan shadow`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize("verb", ["console", "console users add", "console users role", "console users password", "console users remove"])
def test_the_page_names_the_options_of_the_console(verb: str) -> None:
    done = subprocess.run(python("-m", "gateway.cli", *verb.split(), "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", done.stdout))
    assert "--config" in options
    page = PAGE.read_text()
    assert f"`{verb} " in page or f"`banyan {verb}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize("verb", ["list", "preview", "add", "end", "suggest", "accept", "decline"])
def test_the_page_of_rules_names_the_verb_and_its_options(verb: str) -> None:
    done = subprocess.run(python("-m", "gateway.cli", "rules", verb, "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +\*? *(--[a-z-]+)", done.stdout))
    assert {"--config", "--json"} <= options
    page = (REFERENCE / "rules.md").read_text()
    assert f"`rules {verb} " in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize(("drill", "own"), [("provider", {"--payments", "--rate"}), ("timedeal", {"--buyers", "--seconds"})])
def test_the_page_names_the_options_of_the_drills(drill: str, own: set[str]) -> None:
    done = subprocess.run(python("-m", "gateway.cli", "drill", drill, "--help"), capture_output=True, text=True, timeout=60, check=True)
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", done.stdout))
    assert {"--json", "--picture", "--keep"} | own <= options
    page = PAGE.read_text()
    assert f"`banyan drill {drill}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]
