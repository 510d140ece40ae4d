"""docs/reference/commands.md has every verb of flags and signatures, and every option, of them, explain, gate, report, replay and capture;
rules.md those of rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from demo.processes import ROOT, python

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
PAGE = REFERENCE / "commands.md"


VERBS = ["flags list", "flags on", "flags off", "flags set", "flags sync", "flags override", "explain", "gate", "report"]
VERBS += ["signatures list", "signatures show", "signatures set", "mark", "console users list"]
VERBS += ["top", "burndown", "capture", "replay"]
VERBS += ["init", "doctor"]
VERBS += ["payments in-doubt", "payments settle", "payments settled", "domains", "export envoy", "export istio"]


CONSOLE = ["console", "console users add", "console users role", "console users password", "console users remove"]
RULES = ["list", "preview", "add", "end", "suggest", "accept", "decline"]
DRILLS = ["provider", "timedeal"]

TELL = """
import sys
from gateway.cli.verbs import app
for verb in sys.argv[1:]:
    print(end="\\0")
    app([*verb.split(), "--help"], exit_on_error=False, result_action="return_value")
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What `banyan VERB --help` prints, of every verb. One process tells them all."""
    verbs = [*VERBS, "inspect", "shadow", *CONSOLE, *(f"rules {verb}" for verb in RULES), *(f"drill {drill}" for drill in DRILLS)]
    done = subprocess.run(python("-c", TELL, *verbs), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return dict(zip(verbs, done.stdout.split("\0")[1:], strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_names_the_verb_and_its_options(helps: dict[str, str], verb: str) -> None:
    options = set(re.findall(r"(?m)^│ +\*? *(--[a-z-]+)", helps[verb]))
    assert {"--config", "--json"} <= options
    page = PAGE.read_text()
    assert f"{verb} " in page or f"{verb}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


def test_the_page_names_the_options_of_inspect(helps: dict[str, str]) -> None:
    options = set(re.findall(r"(?m)^│ +(--[a-z]+)", helps["inspect"]))
    assert options == {"--config", "--port", "--keep", "--body", "--credentials"}
    page = PAGE.read_text()
    assert "`banyan inspect`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


def test_the_page_names_the_options_of_shadow(helps: dict[str, str]) -> None:
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", helps["shadow"]))
    assert {"--config", "--metrics"} <= options
    page = PAGE.read_text()
    assert "`banyan shadow`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize("verb", CONSOLE)
def test_the_page_names_the_options_of_the_console(helps: dict[str, str], verb: str) -> None:
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", helps[verb]))
    assert "--config" in options
    page = PAGE.read_text()
    assert f"`{verb} " in page or f"`banyan {verb}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize("verb", RULES)
def test_the_page_of_rules_names_the_verb_and_its_options(helps: dict[str, str], verb: str) -> None:
    options = set(re.findall(r"(?m)^│ +\*? *(--[a-z-]+)", helps[f"rules {verb}"]))
    assert {"--config", "--json"} <= options
    page = (REFERENCE / "rules.md").read_text()
    assert f"`rules {verb} " in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]


@pytest.mark.parametrize(("drill", "own"), [("provider", {"--payments", "--rate"}), ("timedeal", {"--buyers", "--seconds"})])
def test_the_page_names_the_options_of_the_drills(helps: dict[str, str], drill: str, own: set[str]) -> None:
    options = set(re.findall(r"(?m)^│ +(--[a-z-]+)", helps[f"drill {drill}"]))
    assert {"--json", "--picture", "--keep"} | own <= options
    page = PAGE.read_text()
    assert f"`banyan drill {drill}`" in page
    assert not [option for option in options if not re.search(rf"{option}\b", page)]
