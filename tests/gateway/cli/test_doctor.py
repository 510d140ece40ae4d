"""`banyan doctor`: what it finds wrong with real set-ups, what it shows of them, and that it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import python
from tests.support.fake_unleash import FakeUnleash
from tests.support.gateway import write_flags

SECRET = "default:development.an-entirely-secret-token"


@pytest.fixture
def legacy() -> Iterator[int]:
    """Something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def unleash() -> Iterator[FakeUnleash]:
    server = FakeUnleash()
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path, legacy: int) -> Path:
    write_flags(tmp_path / "flags.json", {"reviews": False, "reviews__shadow": False})
    write(tmp_path, legacy)
    return tmp_path


def write(folder: Path, legacy: int, more: str = "") -> None:
    (folder / "banyan.toml").write_text(
        f'[gateway]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:{unused()}"\nworkers = 1\naccess_log = "access.log"\n'
        "limits = { connections = 1000 }\n"
        f'[upstreams]\nlegacy = "http://127.0.0.1:{legacy}"\nreviews = "http://127.0.0.1:{legacy}"\n'
        f'[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\n{more}'
    )


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def banyan(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", *arguments)
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
    )


def doctor(folder: Path, status: int, **environment: str) -> dict[str, list[dict[str, str]]]:
    """What it found, by what it is about."""
    done = banyan(folder, "doctor", "--json", "--within", "60s", "--console", f"127.0.0.1:{unused()}", **environment)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] is (status == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for each in told["findings"]:
        found.setdefault(each["about"], []).append(each)
    return found


def store(folder: Path) -> Path:
    """The database with its tables, as the first start makes it."""
    make = "from pathlib import Path; from shadow import store; store.open_database('sqlite:///var/banyan.sqlite3', Path())"
    subprocess.run(python("-c", make), cwd=folder, check=True, timeout=60)
    return folder / "var" / "banyan.sqlite3"


def wrong(found: dict[str, list[dict[str, str]]], level: str = "wrong") -> list[str]:
    return [about for about, each in found.items() if any(one["level"] == level for one in each)]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_set_up_that_could_start_has_nothing_wrong_and_is_left_as_it_is(folder: Path) -> None:
    before = contents(folder)
    found = doctor(folder, 0)
    assert wrong(found, "warning") == []
    assert {"configuration", "gateway", "flags", "upstream legacy", "upstream reviews", "store", "ledger", "console", "NATS"} <= set(found)
    assert {"secret files", "clock", "open files", "processors", "edge engine", "versions"} <= set(found)
    assert contents(folder) == before, "no log, no database, no key was made"
    assert not (folder / "var").exists()


def test_the_page_says_what_is_wrong_first_and_what_to_do(folder: Path) -> None:
    write(folder, unused())
    done = banyan(folder, "doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["wrong", "upstream", "legacy"]
    assert "start it, or correct [upstreams] legacy" in lines[1]
    assert "legacy answers in its place" in done.stdout, "a candidate that is away is no more than a warning"
    assert lines[-1].startswith("1 wrong, ")


@pytest.mark.parametrize("text", [None, "[upstreams\n", "[upstreams]\n", '[upstreams]\nlegacy = "http://x:1"\nspeling = 1\n'])
def test_a_configuration_that_cannot_be_read_is_2(folder: Path, text: str | None) -> None:
    if text is None:
        (folder / "banyan.toml").unlink()
    else:
        (folder / "banyan.toml").write_text(text)
    found = doctor(folder, 2)
    assert wrong(found) == ["configuration"]
    assert "versions" in found, "what needs no configuration is looked at all the same"


def test_who_holds_a_port_is_named(folder: Path, legacy: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = (folder / "banyan.toml").read_text()
        (folder / "banyan.toml").write_text(text.replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{port}"]'))
        found = doctor(folder, 1)
        assert wrong(found) == [f"port 127.0.0.1:{port}"]
        assert f"(process {os.getpid()})" in found[f"port 127.0.0.1:{port}"][0]["said"]
    assert doctor(folder, 0)[f"port 127.0.0.1:{port}"][0]["level"] == "fine"


def test_an_address_of_another_machine_cannot_be_listened_on(folder: Path) -> None:
    text = (folder / "banyan.toml").read_text()
    (folder / "banyan.toml").write_text(text.replace('listen = ["127.0.0.1:0"]', 'listen = ["192.0.2.1:8080"]'))
    assert wrong(doctor(folder, 1)) == ["port 192.0.2.1:8080"]


def test_flags_that_are_missing(folder: Path) -> None:
    write_flags(folder / "flags.json", {"reviews": False})
    found = doctor(folder, 0)
    assert wrong(found, "warning") == ["flags"]
    assert "reviews.shadow" in found["flags"][0]["said"]
    (folder / "flags.json").write_text("{")
    assert wrong(doctor(folder, 1)) == ["flags"]
    (folder / "flags.json").unlink()
    assert wrong(doctor(folder, 1)) == ["flags"]


def test_a_secret_that_others_may_read_is_told_and_never_shown(folder: Path, legacy: int) -> None:
    unleash = f'[flags]\nsource = "unleash"\nurl = "http://127.0.0.1:{unused()}/api"\ntoken = "{SECRET}"\n'
    database = '[shadow]\ndatabase = "postgres://banyan:hunter2hunter2@127.0.0.1:1/banyan"\n'
    write(folder, legacy, unleash + database)
    (folder / "banyan.toml").chmod(0o644)
    found = doctor(folder, 1)
    assert wrong(found) == ["flags", "store", "secret files"]
    assert "everybody on this machine may read it" in found["secret files"][0]["said"]
    for form in ([], ["--json"]):
        done = banyan(folder, "doctor", *form)
        assert "an-entirely-secret" not in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    (folder / "banyan.toml").chmod(0o600)
    assert "secret files" not in wrong(doctor(folder, 1))
    (folder / "banyan.toml").chmod(0o644)
    write(folder, legacy, unleash.replace(SECRET, "${UNLEASH_TOKEN}") + database.replace("hunter2hunter2", "${PASSWORD}"))
    found = doctor(folder, 1, UNLEASH_TOKEN=SECRET, PASSWORD="hunter2hunter2")
    assert wrong(found) == ["flags", "store"], "what only the environment holds is in no file"


def test_unleash(folder: Path, legacy: int, unleash: FakeUnleash) -> None:
    write(folder, legacy, f'[flags]\nsource = "unleash"\nurl = "{unleash.url}"\ntoken = "${{UNLEASH_TOKEN}}"\n')
    features = [{"name": name, "enabled": True, "strategies": []} for name in ("reviews", "reviews.shadow")]
    unleash.features = json.dumps({"version": 2, "features": features}).encode()
    assert doctor(folder, 0, UNLEASH_TOKEN=SECRET)["flags"][0]["level"] == "fine"
    unleash.mode = "401"
    found = doctor(folder, 1, UNLEASH_TOKEN=SECRET)
    assert (wrong(found), "refuses the token (401)" in found["flags"][0]["said"]) == (["flags"], True)
    unleash.mode = "html"
    assert wrong(doctor(folder, 1, UNLEASH_TOKEN=SECRET)) == ["flags"]


def test_the_stores_tables(folder: Path) -> None:
    path = store(folder)
    before = contents(folder)
    found = doctor(folder, 0)
    assert (found["store"][0]["level"], "up to date" in found["store"][0]["said"]) == ("fine", True)
    assert contents(folder) == before
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM django_migrations WHERE name LIKE '0009%'")
    connection.close()
    found = doctor(folder, 0)
    assert wrong(found, "warning") == ["store"]
    assert "0009" in found["store"][0]["said"]
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('shadow', '9999_later', '2030-01-01')")
    connection.close()
    found = doctor(folder, 1)
    assert (wrong(found), "9999_later" in found["store"][0]["said"]) == (["store"], True)
    path.write_bytes(b"no database" * 1000)
    assert wrong(doctor(folder, 1)) == ["store"]


def test_a_store_that_somebody_has_open_is_read_as_it_is_now(folder: Path) -> None:
    path = store(folder)
    other = sqlite3.connect(path)
    try:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('shadow', '9999_later', '2030-01-01')")
        other.commit()
        assert path.with_name("banyan.sqlite3-wal").stat().st_size, "what was written is not in the file itself yet"
        assert "9999_later" in doctor(folder, 1)["store"][0]["said"]
    finally:
        other.close()


def test_payments_in_doubt(folder: Path, legacy: int) -> None:
    route = '[[routes]]\nname = "payments"\nmatch = "/api/v1/payments/*"\nsplit = { reviews = 1 }\nsticky = "idempotency-key"\n'
    write(folder, legacy, route)
    assert doctor(folder, 0)["ledger"][0]["level"] == "note", "nobody has made it yet"
    path = folder / "var" / "ledger.sqlite3"
    path.parent.mkdir(exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ledger_entry (state TEXT)")
        connection.executemany("INSERT INTO ledger_entry VALUES (?)", [("in-doubt",), ("answered",), ("in-doubt",)])
    connection.close()
    path.chmod(0o600)
    found = doctor(folder, 0)
    assert wrong(found, "warning") == ["ledger"]
    assert found["ledger"][0]["said"].startswith("2 in doubt")
    path.write_bytes(b"no database" * 1000)
    found = doctor(folder, 1)
    assert (wrong(found), "503" in found["ledger"][0]["todo"]) == (["ledger"], True)


def test_an_upstream_that_is_not_well(folder: Path, legacy: int, unleash: FakeUnleash) -> None:
    port = unleash.server_address[1]  # whatever answers by HTTP
    write(folder, legacy, f'[upstreams.other]\nurl = "http://127.0.0.1:{port}"\nhealth = {{ path = "/healthz" }}\n')
    assert "is well (200 at /healthz)" in doctor(folder, 0)["upstream other"][0]["said"]
    unleash.mode = "502"
    found = doctor(folder, 0)
    assert wrong(found, "warning") == ["upstream other"]
    assert "502 at /healthz" in found["upstream other"][0]["said"]


def test_nats_that_is_away(folder: Path, legacy: int) -> None:
    write(folder, legacy, f'[shadow]\nsink = "jetstream"\nnats = "nats://127.0.0.1:{unused()}"\n')
    assert wrong(doctor(folder, 1)) == ["NATS"]


def test_a_tree_with_stale_modules_is_told(folder: Path, tmp_path: Path) -> None:
    from gateway import compiled

    tree = tmp_path / "tree"
    for name in ("flags", "gateway", "shadow"):
        shutil.copytree(compiled.ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tree / "gateway" / "tally.py").open("a") as file:
        file.write("# changed\n")
    (tree / "gateway" / "policy" / "later.cpython-313-x86_64-linux-gnu.so").touch()  # something compiled, where this tree has nothing
    asked = "from gateway.doctor import build; print(build.engine()[0].level)"
    done = subprocess.run(
        python("-c", asked), cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "wrong"


@pytest.mark.parametrize("option", [("--within", "soon"), ("--within", "1h"), ("--console", "here")])
def test_wrong_use(folder: Path, option: tuple[str, str]) -> None:
    done = banyan(folder, "doctor", *option)
    assert (done.returncode, done.stderr.startswith(f"banyan: {option[0]}")) == (2, True)
