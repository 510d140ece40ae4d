"""The console on PostgreSQL, whole: first start, users, limits, audit, timeline, and what an operator does."""

from __future__ import annotations

import csv
import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import run

import httpx
import psycopg
import pytest

from console import limits
from demo.postgres import start_postgres
from demo.processes import Running, StartError
from tests.support.admin_port import AdminPort, admin_port, feature
from tests.support.console import PASSWORD, USER, log_in, running_console, send, users
from tests.support.required import missing

TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[shadow]
database = "{database}"
"""


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


@pytest.fixture
def config(port: AdminPort, tmp_path: Path) -> Iterator[Path]:
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    try:
        (tmp_path / "banyan.toml").write_text(TOML.format(admin=port.address, database=server.url))
        yield tmp_path / "banyan.toml"
    finally:
        server.stop()


def text(page: httpx.Response, status: int = 200) -> str:
    assert page.status_code == status, page.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))


def until(said: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def audited(client: httpx.Client) -> list[tuple[str, str, str]]:
    answered = client.get("/audit/export/?format=csv")
    return [(row["by"], row["action"], row["subject"]) for row in csv.DictReader(io.StringIO(answered.text))]


def test_from_the_first_start_to_the_timeline(config: Path, port: AdminPort) -> None:
    assert users(config, "add", "eve", "--role", "viewer").returncode == 0, "on an empty database"
    statuses: list[int] = []

    def attempt(running: Running) -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            statuses.append(send(client, "/login/", username="mallory", password="wrong").status_code)

    with running_console(config) as one, running_console(config) as other, closing(log_in(one)) as operator:
        threads = [threading.Thread(target=attempt, args=[running]) for running in (one, other) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * limits.NAME.burst + [429] * (8 - limits.NAME.burst)

        port.change("reviews", feature("reviews", False), feature("reviews", True), why="\0")
        marked = run(
            [sys.executable, "-m", "gateway.cli", "mark", "reviews 1.4.2", "--route", "reviews", "--config", str(config)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert marked.returncode == 0, marked.stderr
        form = {"state": "off", "minutes": "30", "why": "the drill \0"}
        assert "Turn reviews off?" in text(send(operator, "/flags/reviews/override/", **form))
        assert "Done." in text(send_followed(operator, "/flags/reviews/override/", **form, confirmed="yes"))
        assert "Done." in text(send_followed(operator, "/routes/reviews/gate/begin/", why="1.4.2"))
        until(lambda: "off to on for everybody" in text(operator.get("/timeline/")), "the flip is not there")
        until(lambda: "the gateway was started" in text(operator.get("/timeline/")), "the start is not there")
        shown = text(operator.get("/timeline/?route=reviews"))
        for words in ("reviews 1.4.2", "begun anew", "off to on for everybody", "the gateway was started"):
            assert shown.count(words) == 1, words
        for query in ("route=%00", "kind=gate", "day=2020-01-01", "before=1:3:5", "until=1"):
            assert operator.get(f"/timeline/?{query}").status_code == 200
        for query in ("by=%00", "action=login&route=reviews&since=2020-01-01&until=2020-02-01", "before=1:5"):
            assert operator.get(f"/audit/?{query}").status_code == 200

        with closing(log_in(other, "eve")) as viewer:
            assert viewer.get("/audit/").status_code == 403
            page = viewer.get("/account/")
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert found is not None
            for path in ("/flags/reviews/override/", "/flags/refresh/", "/routes/reviews/gate/begin/"):
                refused = viewer.post(path, data={"csrfmiddlewaretoken": found[1], **form}, headers={"Referer": other.url})
                assert refused.status_code == 403
        kept = audited(operator)
        assert kept.count(("eve", "refused", "POST override")) == 1
        assert kept.count(("", "login-failed", "a name that nobody has")) in (1, 2), "two at once may make two rows"
        assert (USER, "override-set", "reviews off for 30 min") in kept
        assert (USER, "gate-begun", "gate of reviews") in kept
        assert [by for by, action, _ in kept if action == "login"] == ["eve", USER]
        assert len([entry for entry in port.ordered if entry[0] == "PUT"]) == 1
    with running_console(config) as again, closing(log_in(again, "eve")) as viewer:
        attempt(again)
        assert statuses[-1] == 429, "a restart forgets nothing"
        assert text(viewer.get("/timeline/")).count("the gateway was started") == 1
        new = {"old_password": PASSWORD, "new_password1": "another horse 77", "new_password2": "another horse 77"}
        assert "is changed" in text(send(viewer, "/account/password/", **new))


def test_pages_leave_no_connections_behind(config: Path) -> None:
    """A PostgreSQL has a hundred for everybody: the shippers, the workers, and each console."""
    people, pages = 8, 25
    url = re.search(r'database = "(.+)"', config.read_text())
    assert url is not None
    with running_console(config) as running, closing(log_in(running)) as first:

        def look(_: int) -> set[int]:
            with httpx.Client(base_url=running.url, cookies=first.cookies, timeout=60) as client:
                return {client.get(path).status_code for path in ("/", "/flags/", "/timeline/", "/account/", "/endpoints/") * (pages // 5)}

        with ThreadPoolExecutor(people) as pool:
            assert set().union(*pool.map(look, range(people))) == {200}
        with closing(psycopg.connect(url[1])) as database:
            found = database.execute("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()
        assert found is not None
        assert found[0] < 2 * people, "its own threads have four, this question one"


def test_what_no_text_can_hold_is_no_error(config: Path) -> None:
    with running_console(config) as running, closing(log_in(running)) as client:
        for path in (
            "/routes/%00/",
            "/routes/%00/series.json",
            "/routes/%00/rules/",
            "/flags/%00/override/",
            "/endpoints/start/?template=%00",
        ):
            assert client.get(path).status_code in (403, 404), path
        for path in ("/?q=%00", "/flags/?flag=%00", "/endpoints/?q=%00", "/audit/export/?by=%00"):
            assert client.get(path).status_code == 200, path
        with httpx.Client(base_url=running.url, timeout=60) as nobody:
            assert "don't belong together" in text(send(nobody, "/login/", username="a\0b", password="wrong")).replace("\u2019", "'")


def send_followed(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    answered = send(client, path, **form)
    assert answered.url.path.startswith("/operations/"), answered.text
    return answered
