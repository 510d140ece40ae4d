"""What is right in banyan.toml, and cannot be carried out on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config import load
from gateway.usable import unprepared, unswitchable, unusable

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


def test_the_mitmproxy_engine_names_the_routes_that_it_cannot_carry(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text("""
[upstreams]
legacy = "http://127.0.0.1:1"
psp-a = "http://127.0.0.1:2"
[[routes]]
name = "payments"
match = "/payments"
split = { psp-a = 1 }
sticky = "idempotency-key"
failover = "safe"
[[routes]]
name = "carts"
match = "/carts"
split = { psp-a = 1 }
sticky = "header:X-Cart"
""")
    config = load(path)
    assert [problem.partition(":")[0] for problem in unusable(config, "gateway.mitm")] == ["route 'payments'", "route 'payments'"]
    assert unusable(config, "gateway.worker") == []


def test_the_ledger_is_made_at_the_start_and_refused_where_it_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    text = """
[upstreams]
legacy = "http://127.0.0.1:1"
[ledger]
database = "sqlite:///ledger/it.sqlite3"
[[routes]]
name = "payments"
match = "/payments"
split = { legacy = 1 }
"""
    path.write_text(text)
    assert unprepared(load(path)) == []
    assert not (tmp_path / "ledger").exists()
    path.write_text(text + 'sticky = "idempotency-key"\n')
    assert unprepared(load(path)) == []
    assert (tmp_path / "ledger" / "it.sqlite3").stat().st_mode & 0o777 == 0o600
    (tmp_path / "ledger" / "it.sqlite3").write_bytes(b"this is no database, however long it may be" * 100)
    (problem,) = unprepared(load(path))
    assert "ledger.database: file is not a database" in problem
