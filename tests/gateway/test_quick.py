"""How processes begin and end quickly, and lose nothing by it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT
from gateway.quick import importing

BEGIN = "import atexit, sys, threading\nfrom gateway.quick import leave\natexit.register(print, 'registered')\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # what is said waits to be written
    command = [sys.executable, "-c", BEGIN + code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("status", [0, 2])
def test_what_was_said_and_what_was_registered_is_done(status: int) -> None:
    ended = run(f"print('said')\nprint('told', end='', file=sys.stderr)\nleave({status})\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "said\nregistered\n", "told")


def test_python_takes_nothing_apart() -> None:
    apart = "class Kept:\n    def __del__(self):\n        print('taken apart')\nkept = Kept()\n"
    assert "taken apart" in run(apart).stdout
    assert run(apart + "leave(0)\n").stdout == "registered\n"


def test_another_thread_is_waited_for() -> None:
    late = "def late():\n    threading.Event().wait(0.3)\n    print('late')\nthreading.Thread(target=late{}).start()\nleave(3)\n"
    ended = run(late.format(""))
    assert (ended.returncode, ended.stdout) == (3, "late\nregistered\n")
    assert run(late.format(", daemon=True")).stdout == "registered\n", "but for one that nobody waits for"


def test_a_reader_that_is_gone_is_no_error() -> None:
    ended = run("import os\natexit.unregister(print)\nprint('x')\nread, write = os.pipe()\nos.close(read)\nos.dup2(write, 1)\nleave(0)\n")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("how", ["sys.stdout = sys.stderr = None", "sys.stdout.close()", "sys.stdout = None\nsys.stderr.close()"])
def test_one_who_was_started_without_an_output_or_closed_it_ends_as_others(how: str) -> None:
    ended = run(f"atexit.unregister(print)\n{how}\nleave(0)\n")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_cannot_be_said_to_one_is_said_to_the_other() -> None:
    ended = run("atexit.unregister(print)\nsys.stdout.close()\nprint('told', end='', file=sys.stderr)\nleave(0)\n")
    assert (ended.returncode, ended.stderr) == (0, "told")


def test_nothing_is_collected_while_modules_are_imported_and_then_as_before() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_package_stands_without_what_it_would_load(tmp_path: Path) -> None:
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("print('heavy')\n")
    (tmp_path / "heavy" / "part.py").write_text("print('part', __package__)\n")
    there = f"sys.path.insert(0, {str(tmp_path)!r})\nfrom gateway.quick import bare\n"
    ended = run(there + "bare('heavy')\nfrom heavy.part import __name__ as name\nimport heavy\nprint(name, heavy.part.__name__)\n")
    assert (ended.stdout, ended.stderr) == ("part heavy\nheavy.part heavy.part\nregistered\n", "")
    assert run(there + "import heavy\nbare('heavy')\nimport heavy.part\n").stdout == "heavy\npart heavy\nregistered\n", "it was there"
    assert "ModuleNotFoundError: no package nobody" in run(there + "bare('nobody')\n").stderr


def test_httpx_stands_without_its_command() -> None:
    code = "from gateway.quick import HTTPX_COMMAND, absent\nabsent(HTTPX_COMMAND)\nimport httpx\n"
    assert run(code + "print(httpx.Client.__name__, 'rich' in sys.modules)\n").stdout == "Client False\nregistered\n"
