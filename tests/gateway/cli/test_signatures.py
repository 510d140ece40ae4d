"""`banyan signatures`: what is listed, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.gateway.cli.test_comparison import CONFIG, banyan
from tests.gateway.cli.test_gate import FILL, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("signatures")
    (made / "banyan.toml").write_text(CONFIG)
    run(FILL.replace('"$.count"', '"$.co\\x1bunt"'), str(made))
    return made


def listed(folder: Path, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(banyan(folder, "signatures", "list", "reviews", "--json", *arguments).stdout)
    return found


def test_from_the_list_to_a_bug_that_is_fixed(folder: Path) -> None:
    (line,) = listed(folder)
    assert (line["kind"], line["path"], line["state"], line["count"], line["open"], line["history"]) == (
        "type", "$.co\x1bunt", "new", 100, True, [],
    )  # fmt: skip
    number = str(line["id"])
    done = banyan(folder, "signatures", "list", "reviews")
    assert re.fullmatch(rf" *{number}  new +100  \S.*\S +type \$\.co�unt", done.stdout.splitlines()[1]), "and nothing reaches a terminal"

    done = banyan(folder, "signatures", "set", number, "bug", "--why", "it rounds", "--by", "ada")
    assert (done.returncode, done.stdout) == (0, f"{number}  type $.co�unt of reviews: new to bug\n")
    done = banyan(folder, "signatures", "set", number, "bug", "--why", "it rounds", "--by", "bob")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"note: {number} is bug already; nothing was changed\n")
    assert banyan(folder, "gate", "reviews", "--since", "15m").returncode == 1, (
        "not seen for half an hour, but nobody says that it is fixed"
    )

    done = banyan(folder, "signatures", "set", number, "fixed", "--why", "reviews 1.4.2", "--json")
    told = json.loads(done.stdout)
    assert [(change["old"], change["new"], change["why"]) for change in told["history"]] == [
        ("new", "bug", "it rounds"), ("bug", "fixed", "reviews 1.4.2"),
    ]  # fmt: skip
    assert told["history"][0]["by"] == "ada"
    assert re.fullmatch(r".+@.+", told["history"][1]["by"])
    assert told["state_since"] == told["history"][1]["at"]
    assert banyan(folder, "gate", "reviews", "--since", "15m").returncode == 0
    assert (listed(folder, "--state", "new"), len(listed(folder, "--state", "fixed"))) == ([], 1)

    shown = banyan(folder, "signatures", "show", number).stdout.splitlines()
    assert shown[0] == f"{number}  type $.co�unt of reviews: fixed"
    assert shown[1].startswith("  seen     in 100 exchanges, first ")
    assert re.fullmatch(r"  history  \S.*  new to bug, by ada: it rounds", shown[2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "4711", "bug", "--why", "x"], "there is no signature 4711: `banyan signatures list ROUTE` lists"),
        (["show", "4711"], "there is no signature 4711"),
        (["set", "1", "expected", "--why", "x"], "what is expected says a rule"),
        (["set", "1", "bug", "--why", " "], "a reason. Nothing was changed"),
        (["list", "revews"], "there is no route 'revews'"),
        (["list", "reviews", "--state", "open"], "--state: 'open' is no state"),
    ],
)
def test_wrong_use_is_one_line(folder: Path, arguments: list[str], said: str) -> None:
    done = banyan(folder, "signatures", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
