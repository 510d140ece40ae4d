"""What of a machine does not suffice."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from gateway.config import Config, parse
from gateway.doctor import machine


def configured(gateway: str) -> Config:
    return parse(Path("banyan.toml"), f'[gateway]\n{gateway}\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n')


def test_more_workers_than_processors() -> None:
    cores = len(os.sched_getaffinity(0))
    (found,) = machine.processors(configured(f"workers = {cores + 1}"))
    assert (found.level, f"{cores + 1} workers" in found.said) == ("warning", True)
    assert found.todo.startswith("set gateway.workers = ")
    assert machine.processors(configured("workers = 1"))[0].level == "fine"


def test_a_containers_share_of_processors_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine._share(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine._share(tmp_path) is None


def test_open_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert machine.files(configured("limits = { connections = 10 }"))[0].level == "fine"
    (found,) = machine.files(configured("workers = 1\nlimits = { connections = 1000000 }"))
    expected = "fine" if hard == resource.RLIM_INFINITY or hard > 2_000_200 else "warning"
    assert found.level == expected
