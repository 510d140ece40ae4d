"""The services' command line: importing, serving, stopping, and what a wrong use says."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from demo.postgres import start_postgres
from demo.processes import ROOT, Running, answers, listen, python, start
from demo.shop import Shop, start_recommendations, start_reviews, start_shop
from services.faults import Fault

SERVICES = ["reviews", "recommendations"]


def call(service: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def contents(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        # Of which moment the copy is, each database says in its own way; and the two are made one after the other.
        names = [name for name in names if name not in ("event_copies", "event_as_of", "event_marks")]
        return [(name, *row) for name in names for row in connection.execute(f"SELECT * FROM {name} ORDER BY rowid")]  # noqa: S608 - its own names


@pytest.fixture(scope="module")
def postgres_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    server = start_postgres(tmp_path_factory.mktemp("postgres"), "shop")
    try:
        running = start_shop(tmp_path_factory.mktemp("postgres-shop"), workers=1, database=server.url)
        yield running
        running.stop()
    finally:
        server.stop()


def test_an_import_from_postgresql_is_the_one_from_sqlite(tmp_path: Path, shop: Shop, postgres_shop: Shop) -> None:
    for service in SERVICES:
        found = []
        for name, source in (("sqlite", shop), ("postgresql", postgres_shop)):
            path = tmp_path / f"{service}-{name}.sqlite3"
            done = call(service, "import", "--from", source.database, **{f"BANYAN_{service.upper()}_DB": str(path)})
            assert done.returncode == 0, done.stderr
            found.append(contents(path))
        assert found[0] == found[1]
        assert len(found[0]) > 4000


def test_an_import_leaves_the_shop_alone_and_needs_no_running_shop(tmp_path: Path, shop: Shop) -> None:
    copy = tmp_path / "stopped.sqlite3"
    with closing(sqlite3.connect(shop.database.removeprefix("sqlite:///"))) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    before = copy.read_bytes()
    done = call("reviews", "import", "--from", f"sqlite:///{copy}", BANYAN_REVIEWS_DB=str(tmp_path / "reviews.sqlite3"))
    assert done.returncode == 0, done.stderr
    assert "5000 reviews" in done.stdout
    assert copy.read_bytes() == before


def test_an_import_beside_a_running_server_is_seen_whole_or_not_at_all(tmp_path: Path, workdir: Path, shop: Shop) -> None:
    running = start_reviews(tmp_path, shop)
    stop = threading.Event()
    seen: set[tuple[int, object]] = set()

    def ask() -> None:
        with httpx.Client(base_url=running.url) as client:
            while not stop.is_set():
                answer = client.get("/api/v1/reviews/?item=1")
                seen.add((answer.status_code, answer.json().get("count")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            done = call("reviews", "import", "--from", shop.database, BANYAN_REVIEWS_DB=str(tmp_path / "reviews.sqlite3"))
            assert done.returncode == 0, done.stderr
    finally:
        stop.set()
        asking.join()
        running.stop()
    assert len(seen) == 1
    assert next(iter(seen))[0] == 200


def test_a_failed_import_keeps_what_was_there(tmp_path: Path, shop: Shop) -> None:
    path = tmp_path / "reviews.sqlite3"
    assert call("reviews", "import", "--from", shop.database, BANYAN_REVIEWS_DB=str(path)).returncode == 0
    before = contents(path)
    half = tmp_path / "half.sqlite3"
    with closing(sqlite3.connect(half)) as connection:
        connection.execute("CREATE TABLE items_item (id INTEGER)")
    failed = call("reviews", "import", "--from", f"sqlite:///{half}", BANYAN_REVIEWS_DB=str(path))
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert f"reviews: the shop at {half} can't be read: no such table: reviews_review" in failed.stderr
    assert contents(path) == before


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1/", "--from: expected the shop's DATABASE_URL"),
        ("sqlite://", "--from: expected the shop's DATABASE_URL"),
        ("sqlite:////nowhere/shop.sqlite3", "the shop at /nowhere/shop.sqlite3 can't be read: unable to open database file; make it with"),
        ("postgres://shop:hunter2@127.0.0.1:1/shop", "the shop's PostgreSQL can't be read: connection"),
        ("postgres://shop:50%hunter2@127.0.0.1:1/shop", "--from: the address can't be read: expected postgres://"),
    ],
)
def test_a_shop_that_cannot_be_read_is_one_clear_line(tmp_path: Path, url: str, said: str) -> None:
    done = call("reviews", "import", "--from", url, BANYAN_REVIEWS_DB=str(tmp_path / "x.sqlite3"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"reviews: {said}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_serving_without_an_import_is_one_clear_line(tmp_path: Path, service: str) -> None:
    path = tmp_path / "none.sqlite3"
    done = call(service, "serve", "--port", "0", **{f"BANYAN_{service.upper()}_DB": str(path)})
    assert done.returncode == 1
    assert f"fill it with `python -m services.{service} import --from URL`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("folder", [".", "nowhere"])
@pytest.mark.parametrize("verb", [("follow", "--nats", "nats://127.0.0.1:1"), ("parked",), ("redrive",)], ids=lambda verb: verb[0])
def test_following_without_an_import_is_one_clear_line(tmp_path: Path, verb: tuple[str, ...], folder: str) -> None:
    path = tmp_path / folder / "none.sqlite3"
    done = call("reviews", *verb, BANYAN_REVIEWS_DB=str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"reviews: {path}: there is no such file; fill it with `python -m services.reviews import --from URL`\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("content", "said"), [(b"", "has no table items"), (b"no database" * 99, "file is not a database")])
def test_serving_something_else_is_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "other.sqlite3"
    path.write_bytes(content)
    done = call("reviews", "serve", "--port", "0", BANYAN_REVIEWS_DB=str(path))
    assert done.returncode == 1
    assert said in done.stderr
    assert "fill it with `python -m services.reviews import --from URL`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_fault_and_a_port_in_use_stop_the_start(workdir: Path, reviews: Running) -> None:
    database = {"BANYAN_REVIEWS_DB": str(workdir / "reviews.sqlite3")}
    unknown = call("reviews", "serve", "--port", "0", BANYAN_FAULTS="roundedaverage", **database)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("reviews: BANYAN_FAULTS: unknown fault 'roundedaverage'; known: rounded_average")
    taken = listen()
    try:
        port = taken.getsockname()[1]
        done = call("reviews", "serve", "--port", str(port), **database)
    finally:
        taken.close()
    assert done.returncode == 2
    assert done.stderr.startswith(f"reviews: can't listen on 127.0.0.1:{port}: ")
    assert call("reviews", "serve", **database).returncode == 2


def test_a_service_is_restarted_on_its_port_with_other_faults(tmp_path: Path, shop: Shop) -> None:
    first = start_recommendations(tmp_path, shop)
    assert first.stop() == 0
    assert first.log.read_text() == ""  # no access log, no noise
    second = start_recommendations(tmp_path, shop, [Fault.OTHER_ORDER], port=first.port)
    try:
        assert second.port == first.port
        assert httpx.get(f"{second.url}/healthz").json()["faults"] == ["other_order"]
    finally:
        second.stop()


SLOW = """
import sys, time
from pathlib import Path
from starlette.responses import PlainTextResponse
from services.command import Service, main
from services.serving import application

def slow(request):
    Path(sys.argv[2]).touch()
    time.sleep(0.5)
    return PlainTextResponse("done")

service = Service("reviews", (), lambda pool, faults, verifier: application(pool, {"/slow": slow}, faults, verifier))
sys.exit(main(service, ["serve", "--fd", sys.argv[1]]))
"""


def test_a_stopping_service_finishes_what_it_began(workdir: Path, tmp_path: Path, reviews: Running) -> None:
    began = tmp_path / "began"
    database = {"BANYAN_REVIEWS_DB": str(workdir / "reviews.sqlite3")}
    running = start(
        "slow", python("-c", SLOW, "{fd}", str(began)), log_dir=tmp_path, sock=listen(), env=database, ready=answers("/healthz")
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, f"{running.url}/slow")
        deadline = time.monotonic() + 10
        while not began.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert running.stop() == 0
        assert answer.result(10).text == "done"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/healthz")
