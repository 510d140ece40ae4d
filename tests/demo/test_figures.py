"""A store that cannot be read ends the story in one line, and not in a traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from demo.figures import Figures, FiguresError
from demo.processes import python

TOML = '[upstreams]\nlegacy = "http://127.0.0.1:1"\n[shadow]\ndatabase = "sqlite:///x.sqlite3"\n'
# In a process of its own, since Django has one database. Nobody made the tables.
SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace

from demo import script
from demo.figures import Figures
from demo.story import Step

figures = Figures(Path(sys.argv[1]))
line = script.Line(1, "step", "expected")
story = SimpleNamespace(traffic=SimpleNamespace(counts=SimpleNamespace(failed=0)))
try:
    script._run(Step("step", "expected", lambda story: figures.reports(["reviews"], 0)), story, line)
except script.BREAKS as error:
    print(error)
    print(line.seen)
"""


def test_the_story_breaks_off(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    done = subprocess.run(python("-c", SCRIPT, str(tmp_path / "banyan.toml")), capture_output=True, text=True, timeout=60, check=False)
    reason = "the comparisons cannot be read: no such table: shadow_tallysum"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{reason}\nbroke off: {reason}\n", "")


def test_a_process_that_has_another_database(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    with pytest.raises(FiguresError, match="this process already uses another database"):
        Figures(tmp_path / "banyan.toml")
