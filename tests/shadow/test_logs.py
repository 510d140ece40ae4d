"""How processes log: what is about a request says so, in text and in JSON; and every process that is started takes the one way."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from shadow.logs import FORMAT, LINE, Json, Text, about

ROOT = Path(__file__).resolve().parents[2]


def record(message: str, *args: object, **extra: str) -> logging.LogRecord:
    made = logging.getLogger("banyan.test").makeRecord("banyan.test", logging.ERROR, "f.py", 1, message, args, None, extra=extra)
    made.created = 1_790_000_000.123456789
    return made


def test_text_ends_with_the_request_that_it_is_about() -> None:
    text = Text(LINE)
    assert text.format(record("a request could not be sent", **about("r-17"))).endswith(
        "ERROR banyan.test: a request could not be sent [request r-17]"
    )
    assert text.format(record("nothing of the kind")).endswith("banyan.test: nothing of the kind")
    said = text.format(record("comparing request %s on route %s failed", "r-17", "reviews", **about("r-17", "reviews")))
    assert said.endswith("comparing request r-17 on route reviews failed"), "it is not said twice"


def test_json_is_one_object_a_line() -> None:
    made = record("it %s\nfailed", "ofte\ud800n", **about("r-17", "reviews"))
    try:
        int("of\nlines")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = Json("worker").format(made)
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("exception").endswith(r"with base 10: 'of\nlines'")
    assert found.pop("pid") == made.process
    assert found == {
        "time": 1_790_000_000.123457,
        "level": "error",
        "logger": "banyan.test",
        "process": "worker",
        "message": "it ofte\\ud800n\nfailed",
        "request_id": "r-17",
        "route": "reviews",
    }


@pytest.mark.parametrize(("wanted", "says"), [("", "WARNING banyan.x: y"), ("json", '"message":"y"'), ("yaml", "not 'yaml': it is text")])
def test_the_environment_chooses(wanted: str, says: str) -> None:
    code = "import logging; from shadow import logs; logs.begin('p', logging.WARNING); logging.getLogger('banyan.x').warning('y')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT), FORMAT: wanted}, capture_output=True, text=True, check=True
    )
    assert says in done.stderr
    assert done.stderr.count("y\n") + done.stderr.count('"y"') == 1


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


SOURCES = [
    path for room in ("gateway", "shadow", "flags", "events", "console", "inspecting") for path in sorted((ROOT / room).rglob("*.py"))
]


def test_every_process_logs_alike() -> None:
    own = [str(path) for path in SOURCES for call in calls(path) if ast.unparse(call.func) == "logging.basicConfig"]
    assert own == [str(ROOT / "shadow" / "logs.py")]


def test_what_is_logged_of_one_request_says_of_which() -> None:
    """A line that speaks of "a request", "a payment" or "request %s" has its id for machines, too."""
    found = 0
    for path in SOURCES:
        for call in calls(path):
            if not ast.unparse(call.func).startswith("_log.") or not call.args or not isinstance(call.args[0], ast.Constant):
                continue
            text = str(call.args[0].value)
            if text.startswith(("a request ", "a payment ")) or "request %s" in text:
                found += 1
                assert any(keyword.arg == "extra" for keyword in call.keywords), f"{path}:{call.lineno}: {text}"
    assert found >= 12
