"""`banyan rules`, as a shell meets it: exit statuses, words, JSON; on SQLite here; tests/shadow/test_rules_stores.py has PostgreSQL too."""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.processes import python

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow.compare]
ignore = ["$.configured"]
[routes.gate]
minimum = 30
match = 0.8
[shadow]
database = "sqlite:///store.sqlite3"
"""

FILL = """
import json, sys, time
from pathlib import Path
from shadow import store
folder = Path(sys.argv[1])
store.setup("sqlite:///store.sqlite3", folder)
store.migrate(folder)
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
judge, batch, now = Judge(Redactor([], b"k" * 32), {"reviews": Rules.make(ignore=["$.configured"])}), Batch(), time.time()
def see(left, right, times):
    for number in range(times):
        sides = [json.dumps(side).encode() for side in (left, right)]
        head = b"Content-Type: application/json\\r\\n"
        batch.judgement(judge.judge(Exchange(
            "reviews", f"q{number}", now - 60, "GET", "/reviews/7?x=1", b"", b"",
            Answer("legacy", "legacy", 200, head, sides[0], 0.1), Answer("candidate", "new", 200, head, sides[1], 0.1))))
see({"a": 1}, {"a": 1}, 10)
see({"configured": 1}, {"configured": 2}, 2)
see({"generated_at": 1, "n": 1.0}, {"generated_at": 2, "n": 1.1}, 3)
see({"generated_at": 1}, {"generated_at": 2}, 40)
batch.count("reviews", now - 60, "eligible", 56)
store.write(batch)
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ruled")
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", FILL, str(made)), env=environment, check=True, timeout=60)
    return made


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    (tmp_path / "store.sqlite3").write_bytes((filled / "store.sqlite3").read_bytes())
    return tmp_path


def banyan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", *arguments, "--config", str(folder / "banyan.toml"))
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def told(folder: Path, *arguments: str) -> Any:
    done = banyan(folder, *arguments, "--json")
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_gate_is_not_passed_on_a_rule_that_has_expired_though_no_worker_has_noticed(folder: Path) -> None:
    for path in ("$.generated_at", "$.n"):
        assert banyan(folder, "rules", "add", "reviews", "ignore", path, "--reason", "agreed", "--for", "1h").returncode == 0
    assert banyan(folder, "gate", "reviews").returncode == 0
    with closing(sqlite3.connect(folder / "store.sqlite3")) as database, database:
        database.execute("UPDATE shadow_rule SET created = created - 9000, expires = expires - 9000 WHERE path = '$.n'")
    done = banyan(folder, "gate", "reviews")
    assert done.returncode == 1
    assert done.stdout.startswith("reviews: not passed. 1 signature still open: value $.n (new) (")


def test_a_rule_from_its_preview_to_its_end(folder: Path) -> None:
    preview = banyan(folder, "rules", "preview", "reviews", "ignore", "$.generated_at")
    assert (preview.returncode, preview.stderr) == (0, "")
    lines = preview.stdout.splitlines()
    assert lines[:4] == [
        "reviews: ignore $.generated_at",
        "  exchanges   40 that differed would be matches (exact: by what differed together in each)",
        "  match rate  21.82 % (12 of 55: 10 outright, 2 by the configuration's rules), coverage 98.21 %",
        "  would be    94.55 % (52 of 55: 10 outright, 2 by the configuration's rules, 40 by reviewed rules), coverage 98.21 %",
    ]
    assert "not passed" in lines[5]
    assert "with the rule not passed (85.15 % or more" in lines[5]  # other signatures are open still
    assert "         43 x value $.generated_at (new)" in lines
    assert any("curl --globoff --include 'http://GATEWAY/reviews/7?x=1'" in line for line in lines)

    made = banyan(folder, "rules", "add", "reviews", "ignore", "$.generated_at", "--reason", "when it was answered", "--for", "30d")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("reviews: rule 1: ignore $.generated_at, by ")
    assert "  40 exchanges that differed are matches now; match rate 94.55 %" in made.stdout

    listed = told(folder, "rules", "list", "reviews")
    assert (listed["matched"], listed["matched_by_rules"], listed["matched_by_configuration"]) == (52, 40, 2)
    rule, own = listed["rules"]
    assert (rule["id"], rule["author"], rule["reason"], rule["exchanges"]) == (1, getpass.getuser(), "when it was answered", 43)
    assert rule["expires"] - rule["created"] == pytest.approx(30 * 86400)
    assert (own["id"], own["state"], own["path"]) == (None, "configuration", "$.configured")
    text = banyan(folder, "rules", "list", "reviews").stdout
    assert "rule 1       ignore $.generated_at (in 43 exchanges)" in text
    assert "banyan.toml  ignore $.configured" in text

    assert "1 signature still open: value $.n (new)" in banyan(folder, "gate", "reviews").stdout
    (other,) = (line["id"] for line in told(folder, "signatures", "list", "reviews") if line["path"] == "$.n")
    banyan(folder, "signatures", "set", str(other), "fixed", "--why", "rounded alike since 1.2")
    gate = banyan(folder, "gate", "reviews")
    assert "52 of 55 match, 40 of them by reviewed rules" in gate.stdout
    report = banyan(folder, "report", "reviews").stdout
    assert "  matched     52: 10 outright, 2 by the configuration's rules, 40 by reviewed ones (1 in force)" in report

    tried = banyan(folder, "rules", "end", "reviews", "1", "--dry-run")
    assert tried.returncode == 0
    assert "  exchanges   40 that are matches would differ again" in tried.stdout
    assert "without the rule not passed" in tried.stdout
    assert told(folder, "gate", "reviews")["passed"], "nothing has ended"

    ended = told(folder, "rules", "end", "reviews", "1", "--reason", "no more", "--by", "lee")
    assert (ended["exchanges"], ended["ended_by"], ended["state"]) == (-40, "lee", "ended")
    assert told(folder, "rules", "list", "reviews")["rules"][0]["state"] == "configuration"
    (past, _) = told(folder, "rules", "list", "reviews", "--all")["rules"]
    assert (past["state"], past["ended_why"], past["reason"]) == ("ended", "no more", "when it was answered")
    assert banyan(folder, "gate", "reviews").returncode == 1


def test_of_a_rule_by_values_the_samples_are_told_and_nothing_more(folder: Path) -> None:
    assert banyan(folder, "rules", "preview", "reviews", "tolerance", "$.n", "0.5").returncode == 1, "it would make no match of anything"
    banyan(folder, "rules", "add", "reviews", "ignore", "$.generated_at", "--reason", "x")
    preview = banyan(folder, "rules", "preview", "reviews", "tolerance", "$.n", "0.5")
    assert preview.returncode == 0
    assert "counts can't tell: the rule depends on values" in preview.stdout
    assert "  samples     3 of 3 would match; they are some of 3 exchanges" in preview.stdout
    made = banyan(folder, "rules", "add", "reviews", "tolerance", "$.n", "0.5", "--reason", "rounding")
    assert "3 of 3 samples (of 3 exchanges) would match" in made.stdout
    assert told(folder, "report", "reviews")["matched"] == 52, "the counts of the past stay"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["add", "reviews", "ignore", "$.a"], 2, "say why: banyan rules add reviews ignore '$.a' --reason 'TEXT'"),
        (["add", "reviews", "ignore", "$.a", "--reason", "  "], 2, "say why"),
        (["add", "reviews", "ignore", "a", "--reason", "x"], 2, "a path starts with $"),
        (["add", "reviews", "skip", "$.a", "--reason", "x"], 2, "there is no rule 'skip'"),
        (["add", "reviews", "tolerance", "$.a", "--reason", "x"], 2, "tolerance needs a value"),
        (["add", "reviews", "ignore", "$.a", "--reason", "x", "--for", "soon"], 2, "--for: write a duration with its unit"),
        (["add", "reviews", "ignore", "$.a", "--reason", "x", "--for", "1s"], 2, "for a minute at least"),
        (["add", "reviews", "ignore", "$.configured", "--reason", "x"], 1, "the configuration has this rule already"),
        (["add", "items", "ignore", "$.a", "--reason", "x"], 2, "there is no route 'items'"),
        (["end", "reviews", "7", "--reason", "x"], 1, "reviews has no rule 7"),
        (["end", "reviews", "7"], 2, "say why"),
        (["end", "reviews", "7", "--dry-run"], 1, "reviews has no rule 7 that is in force"),
        (["preview", "reviews", "pattern", "$.a", "("], 2, "a ) is missing"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder: Path, arguments: list[str], status: int, said: str) -> None:
    done = banyan(folder, "rules", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("banyan: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_of_a_rules_text_reaches_a_terminal_as_it_is(folder: Path) -> None:
    banyan(folder, "rules", "add", "reviews", "ignore", '$["\\u001b[2J"]', "--reason", "two\nlines \x1b[31m", "--by", "kim\x07")
    listed = banyan(folder, "rules", "list", "reviews").stdout
    assert "\x1b" not in listed + banyan(folder, "rules", "list", "reviews", "--json").stdout
    assert "\x07" not in listed
    assert "two lines" in listed


NOISE = """
import json, sys, time
from pathlib import Path
from shadow import store
store.setup("sqlite:///store.sqlite3", Path(sys.argv[1]))
from shadow.batch import Batch
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
judge, batch, now = Judge(Redactor([], b"k" * 32), {}), Batch(), time.time()
for number in range(50):
    sides = [json.dumps({"generated_at": number + more}).encode() for more in (0, 1)]
    head = b"Content-Type: application/json\\r\\n"
    batch.judgement(judge.judge(Exchange("reviews", "q", now - 90, "GET", "/reviews/7", b"", b"",
        Answer("legacy", "legacy", 200, head, sides[0], 0.1), Answer("legacy", "legacy", 200, head, sides[1], 0.1), "noise")))
batch.count("reviews", now - 60, "eligible", 56)
store.write(batch)
"""


def test_what_noise_speaks_for_is_accepted_or_declined(folder: Path) -> None:
    nothing = banyan(folder, "rules", "suggest", "reviews")
    assert nothing.returncode == 1
    assert "nothing is suggested, after 0 pairs" in nothing.stdout
    assert "[routes.shadow] noise = 0.05" in nothing.stdout
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", NOISE, str(folder)), env=environment, check=True, timeout=60)

    listed = banyan(folder, "rules", "suggest", "reviews")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[:2] == [
        "ignore $.generated_at",
        "  $.generated_at differs in 100 % of legacy's own pairs (n = 50) and in 78 % of pairs with the candidate (n = 55);"
        " 95 %: 92.87 % to 100.00 %",
    ]
    (found,) = told(folder, "rules", "suggest", "reviews")["suggestions"]
    assert (found["rule"], found["different"], found["explained"]) == ({"kind": "ignore", "path": "$.generated_at", "value": ""}, 50, True)

    declined = banyan(folder, "rules", "decline", "reviews", "$.generated_at", "--reason", "it matters")
    assert (declined.returncode, declined.stderr) == (0, "")
    again = banyan(folder, "rules", "accept", "reviews", "$.generated_at")
    assert (again.returncode, again.stdout) == (1, "")
    assert "nothing is suggested for $.generated_at" in again.stderr


def test_an_accepted_suggestion_keeps_its_evidence(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", NOISE, str(folder)), env=environment, check=True, timeout=60)
    made = told(folder, "rules", "accept", "reviews", "$.generated_at", "--for", "90d", "--by", "kim")
    assert (made["origin"], made["author"], made["kind"], made["preview"]["exchanges"]) == ("suggestion", "kim", "ignore", 40)
    assert made["about"] == made["reason"]
    assert "100 % of legacy's own pairs (n = 50)" in made["about"]
    assert told(folder, "gate", "reviews")["matched_by_rules"] == 40


def test_a_suggestion_is_accepted_as_another_kind_of_rule(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", NOISE, str(folder)), env=environment, check=True, timeout=60)
    refused = banyan(folder, "rules", "accept", "reviews", "$.generated_at", "--value", "5")
    assert (refused.returncode, refused.stdout) == (2, "")
    made = told(folder, "rules", "accept", "reviews", "$.generated_at", "--as", "tolerance", "--value", "5")
    assert (made["kind"], made["value"], made["origin"]) == ("tolerance", "5", "suggestion")
    assert (made["preview"]["exchanges"], made["preview"]["samples"]["matching"]) == (0, 3)
    assert banyan(folder, "rules", "suggest", "reviews").returncode == 1, "somebody has decided about that place"
