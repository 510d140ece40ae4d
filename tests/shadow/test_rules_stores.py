"""Rules, combinations and their counts, written by several workers at once: on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError
from tests.support.required import missing

COMMON = """
import json, sys, time
from pathlib import Path
url, folder = sys.argv[1], Path(sys.argv[2])
from shadow import store
store.setup(url, folder)
store.migrate(folder)
from gateway.settings.routes import Gate
from shadow import preview, report, rulebook
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Combination, Rule, Signature
from shadow.redact import Redactor
from shadow.rule_source import RuleSource
from shadow.rules import checked
HEAD = b"Content-Type: application/json\\r\\n"
def exchange(left, right, at, noise=False):
    one, other = (json.dumps(side).encode() for side in (left, right))
    return Exchange("r", "q", at, "GET", "/x", b"", b"",
        Answer("legacy", "legacy", 200, HEAD, one, 0.1),
        Answer("legacy" if noise else "candidate", "new", 200, HEAD, other, 0.1), "noise" if noise else "pair")
judge = Judge(Redactor([], b"k" * 32), {"r": Rules.make(ignore=["$.i"])})
"""
WRITE = (
    COMMON
    + """
source = RuleSource()
for turn in range(10):
    rules = source.poll(time.time())
    if rules is not None:
        judge = judge.under(rules)
    batch = Batch()
    for number in range(10):
        batch.judgement(judge.judge(exchange({"t": 1}, {"t": 2}, time.time())))
        batch.judgement(judge.judge(exchange({"t": 1, f"k{number % 4}": "\\0"}, {"t": 2, f"k{number % 4}": ""}, time.time())))
    for number in range(4):
        batch.judgement(judge.judge(exchange({"t": 1}, {"t": 2}, time.time(), noise=True)))
        batch.judgement(judge.judge(exchange({"i": "a"}, {"i": 1}, time.time())))
    store.write(batch)
"""
)
CHECK = (
    COMMON
    + """
def figures():
    found = report.summary("r")
    assert found.matched_by_configuration == 120
    return found.matched - 120, found.matched_by_rules, found.mismatched, found.untold
assert figures() == (0, 0, 600, 0), figures()
from shadow import alarms, suggesting
from shadow.models import Drift, Noise, Presence, Sample
(raised,) = alarms.raise_alarms(time.time())
assert (raised.path, raised.count, raised.samples.count()) == ("$.i string->number", 120, 1)
assert Sample.objects.filter(drift=None).exists() and Drift.objects.count() == 1
(noise,) = Noise.objects.all()
assert (noise.count, noise.manner["counts"], len(noise.manner["examples"])) == (120, {"numbers": 120}, 3)
assert dict(Presence.objects.values_list("path", "pairs")) == {"": 120, "$": 120, "$.t": 120}
(suggested,) = suggesting.of("r")
assert suggested.sentence.startswith("$.t differs in 100 % of legacy's own pairs (n = 120) and in 83 % of pairs with"), suggested.sentence
assert Combination.objects.count() == 5
looked = preview.of_adding("r", checked("ignore", "$.t"), Rules(), terms=Gate(minimum=1, match=0.1, coverage=0))
assert (looked.matches_gained, looked.samples_matching > 0) == (300, True)
row = rulebook.add("r", checked("ignore", "$.t"), Rules(), author="kim", reason="clock", at=time.time(), rested_on=looked.rested_on())
assert figures() == (300, 300, 300, 0), figures()
assert Signature.objects.get(path="$.t").state == "expected"
source = RuleSource()
assert list(source.poll(time.time())) == ["r"]
judge = judge.under({"r": [checked("ignore", "$.t")]})
batch = Batch()
batch.judgement(judge.judge(exchange({"t": 1}, {"t": 2}, time.time())))
store.write(batch)
assert figures() == (301, 301, 300, 0), figures()
store.roll_up(time.time() + 7200)
assert figures() == (301, 301, 300, 0), figures()
rulebook.end("r", row.pk, by="lee", why="enough", at=time.time())
assert source.poll(time.time()) == {}
assert figures() == (0, 0, 601, 0), figures()
assert Signature.objects.get(path="$.t").state == "new"
rulebook.add("r", checked("ignore", "$.t"), Rules(), author="kim", reason="again", at=time.time())
try:
    Rule.objects.create(route="r", kind="ignore", path="$.t", author="kim", reason="again", created=1.0)
except Exception as error:
    assert type(error).__name__ == "IntegrityError"
else:
    raise AssertionError("the same rule twice")
store.purge(time.time() + 7200, 1)
assert not Combination.objects.exists()
assert Rule.objects.count() == 2
"""
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite:///store.sqlite3"
        return
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    try:
        yield server.url
    finally:
        server.stop()


def test_several_workers_write_and_rules_recompute_it(url: str, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", WRITE, url, str(tmp_path)] for _ in range(3)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for process in processes:
        _, errors = process.communicate(timeout=90)
        assert (process.returncode, errors.decode()) == (0, "")
    done = subprocess.run([sys.executable, "-c", CHECK, url, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
