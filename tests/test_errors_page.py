"""docs/reference/errors.md names every error that the gateway itself answers, with the status that it has."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.net.answers import REASONS
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()
CLIENTS, _, ADMIN = PAGE.partition("## The admin port")


def rows(text: str) -> list[tuple[int, str]]:
    """(status, code) of each row."""
    return [(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", text, re.MULTILINE)]


def test_every_problem_is_there_once_with_its_status() -> None:
    assert sorted(rows(CLIENTS)) == sorted((problem.status, str(problem)) for problem in Problem)


def test_every_row_says_when_and_what_to_do() -> None:
    for row in re.findall(r"^\| \d{3} \|.*$", CLIENTS, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert all(cells), row


def test_every_problem_is_answered_somewhere() -> None:
    """One that no code answers would be documented for nobody."""
    source = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py") if path.name != "problems.py")
    by_failure = {failure.problem for failure in Failure}
    for problem in Problem:
        assert problem in by_failure or f"Problem.{problem.name}" in source, problem


def test_every_status_has_its_reason_phrase() -> None:
    assert {problem.status for problem in Problem} == set(REASONS)


def test_the_example_is_what_its_code_says() -> None:
    example = re.search(r"```\nHTTP/1.1 (\d+) ([\w ]+)\n.*?Banyan-Error: ([\w-]+)\n.*?```", PAGE, re.DOTALL)
    assert example is not None
    problem = Problem(example[3])
    assert (int(example[1]), example[2].encode()) == (problem.status, REASONS[problem.status])
    assert f'"title":"{problem.summary}","status":{problem.status}' in example[0]


def test_every_problem_of_the_admin_port_is_there() -> None:
    """What its modules answer, and nothing else."""
    source = "".join(path.read_text() for path in (ROOT / "gateway").glob("admin*.py"))
    answered = {(int(status), code) for status, code in re.findall(r'\bproblem\(\s*(\d{3}), "([a-z-]+)"', source)}
    assert len(answered) >= 10
    assert set(rows(ADMIN)) == answered
    assert len(rows(ADMIN)) == len(answered)


def test_every_bare_refusal_of_the_admin_port_is_there() -> None:
    source = "".join(path.read_text() for path in (ROOT / "gateway").glob("admin*.py"))
    bare = re.findall(r'\banswer\(\s*\{"error".*?\},\s*(\d{3})\s*\)', source, re.DOTALL)
    assert len(bare) >= 2
    for status in bare:
        assert re.search(rf"\b{status}\b", ADMIN.rpartition("\n\n")[2]), status
