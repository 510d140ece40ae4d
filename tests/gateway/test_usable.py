"""What is right in banyan.toml, and cannot be carried out on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config import load
from gateway.usable import unswitchable

FOLDER = Path("/proc/sys")
"""One that root cannot write either."""


@pytest.mark.skipif(os.access(FOLDER, os.W_OK), reason="it can be written here")
def test_a_guard_needs_a_flag_file_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    text = f'''
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[flags]
path = "{FOLDER}/flags.json"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "reviews"
'''
    path.write_text(text)
    assert unswitchable(load(path)) == []
    path.write_text(text + "[routes.guard]\n")
    (problem,) = unswitchable(load(path))
    assert "/proc/sys cannot be written, and there the guard of 'reviews' would turn its flag off" in problem
    path.write_text((text + "[routes.guard]\n").replace(f"{FOLDER}/", ""))
    assert unswitchable(load(path)) == []
