"""The flags on the real console's pages, beside a gateway's admin port, asked over HTTP and looked at with Chromium."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from demo.postgres import start_postgres
from demo.processes import Running, StartError
from tests.support.admin_port import AdminPort, admin_port, feature
from tests.support.console import browser, log_in, running_console
from tests.support.required import missing
from tests.support.tallies import insert

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe"
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
[[routes]]
name = "search"
match = "/api/v1/search"
candidate = "reviews"
"""
UNLEASH = """
[flags]
source = "unleash"
url = "http://unleash.test:4242/base/api"
token = "default:development.client"
"""


@dataclass
class Console:
    running: Running
    folder: Path
    port: AdminPort

    def log_in(self) -> httpx.Client:
        return log_in(self.running)

    def flags(self, *features: dict[str, object]) -> None:
        """A gateway that decides by them."""
        states = {str(each["name"]): bool(each["enabled"]) for each in features}
        self.port.state |= {"flags": states, "definitions": {str(each["name"]): each for each in features}}


@contextmanager
def console_beside(port: AdminPort, more: str = "") -> Iterator[Console]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    (folder / "banyan.toml").write_text(TOML.format(admin=port.address) + more)
    try:
        with running_console(folder / "banyan.toml") as running:
            yield Console(running, folder, port)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


@pytest.fixture
def console(port: AdminPort) -> Iterator[Console]:
    with console_beside(port) as started:
        yield started


def until(said: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def quickest(client: httpx.Client, path: str) -> float:
    """Seconds, of three tries: a busy machine is slow now and then, a page that waits is slow each time."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert client.get(path).status_code == 200
        took.append(time.monotonic() - began)
    return min(took)


def text(page: httpx.Response) -> str:
    """Without its tags, as one line."""
    assert page.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text)).replace("&#x27;", "'")


@pytest.mark.parametrize("path", ["/flags/", "/flags/changes/1/"])
def test_the_pages_need_a_login(console: Console, path: str) -> None:
    assert httpx.get(console.running.url + path).headers["location"].startswith("/login/?next=")


def test_what_flags_say_and_what_is_wrong_with_them(console: Console) -> None:
    quarter = feature("reviews", True, strategies=[{"name": "flexibleRollout", "parameters": {"rollout": "25", "stickiness": "userId"}}])
    console.flags(quarter, feature("reviews.shadow", True), feature("search", False))
    console.port.state["problems"] = [{"flag": "search.shadow", "problem": "the source does not have it"}]
    console.port.state["overrides"] = {
        "reviews.shadow": {"enabled": False, "since": time.time(), "until": time.time() + 1800, "by": "ana", "why": "load <test>"}
    }
    client = console.log_in()
    until(lambda: "on for 25 % of users" in client.get("/").text, "the overview does not show it")
    overview = text(client.get("/"))
    assert "from the flag file, confirmed 0." in overview or "from the flag file, confirmed 1." in overview
    assert "every worker decides by it" in overview
    assert "serve on for 25 % of users" in overview
    assert "shadow on for everybody override: off off for everybody until" in overview
    assert ", by ana: load &lt;test&gt;" in overview
    assert "not there: off problem the source does not have it" in overview
    route = text(client.get("/routes/reviews/"))
    assert "whether the candidate answers on for 25 % of users" in route
    everything = client.get("/flags/")
    assert "search.shadow whether the two are compared on search not there: off" in text(everything)
    assert "unleash" not in everything.text.lower(), "these live in a file"
    client.close()


def test_a_change_is_on_the_pages_with_its_difference(console: Console) -> None:
    off, on = feature("reviews", False, description=HOSTILE), feature("reviews", True, description=HOSTILE)
    console.port.change("reviews", off, on)
    console.port.change("reviews", on, on | {"description": "other"})
    console.port.change("reviews", None, {"enabled": False, "until": 2e9}, kind="override", by=HOSTILE, why=HOSTILE)
    client = console.log_in()
    until(lambda: client.get("/flags/").text.count("difference</a>") == 3, "the changes are not shown")
    page = client.get("/flags/")
    shown = text(page)
    assert "off on for everybody the file changed" in shown
    assert "changed: description" in shown
    assert "no override override off until 2033-05-18 03:33:20 UTC &lt;script&gt;" in shown
    assert "<script>document" not in page.text
    assert "<img src=x" not in page.text
    assert "\\u202egnp.exe" in page.text
    assert "\u202e" not in page.text
    assert "off on for everybody" in text(client.get("/routes/reviews/"))
    difference = client.get(re.findall(r'href="(/flags/changes/\d+/)"', page.text)[-1])
    assert "<del>  &quot;enabled&quot;: false,</del>" in difference.text
    assert "<ins>  &quot;enabled&quot;: true,</ins>" in difference.text
    assert "<script>document" not in difference.text
    assert client.get("/flags/changes/999/").status_code == 404
    assert "No change was seen of search" in text(client.get("/flags/?flag=search"))
    assert client.get("/flags/", params={"flag": HOSTILE, "page": "x"}).text.count("<script>document") == 0
    client.close()


def test_what_the_guard_did_is_on_its_routes_page_and_among_the_changes(console: Console) -> None:
    off, on, why = feature("reviews", False), feature("reviews", True), "errors: candidate 50.00% (30 of 60), legacy 0.00% (0 of 300)"
    console.port.change("reviews", on, off, by="banyan guard", why=why)
    client = console.log_in()
    until(lambda: "difference</a>" in client.get("/flags/").text, "the change is not shown")
    assert f"on for everybody off banyan guard {why}" in text(client.get("/flags/"))
    assert "What its guard did" not in client.get("/routes/reviews/").text
    values = ("run", 1, time.time(), "reviews", "reviews", "errors", f"{why} {HOSTILE}", "{}", "switched-off", False, "")
    with closing(sqlite3.connect(console.folder / "var" / "banyan.sqlite3")) as database, database:
        columns = "gateway, number, at, route, flag, reason, why, figures, outcome, overridden, error"
        database.execute(f"INSERT INTO shadow_guardtrip ({columns}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - all ours
    page = client.get("/routes/reviews/")
    assert f"switched-off {why}" in text(page)
    assert "<script>document" not in page.text
    assert "What its guard did" not in client.get("/routes/search/").text
    client.close()


def test_a_long_history_has_pages_and_a_gap_is_said(console: Console) -> None:
    client = console.log_in()
    until(lambda: "/flags/changes?after=0" in console.port.asked, "the gateway was not asked")
    console.port.burst([("reviews" if number % 2 else "search", None, {"name": "x", "enabled": True}) for number in range(1200)])
    until(lambda: "page 1 of 21" in client.get("/flags/").text, "not all of them were kept")
    assert "200 changes before this were not seen" in text(client.get("/flags/?page=21"))
    second = client.get("/flags/?flag=search&page=2").text
    assert second.count("difference</a>") == 50
    assert "page 2 of 10" in second
    assert ">reviews</a>" not in second.split('id="changes"')[1]
    assert 'href="?flag=search&amp;page=3"' in second
    client.close()


def test_a_source_in_trouble_is_a_warning(console: Console) -> None:
    client = console.log_in()
    until(lambda: "every worker" in client.get("/").text, "the gateway was not asked")
    assert "source warned" not in client.get("/").text
    console.port.state |= {"source": "unleash", "staleness_seconds": 12.0}
    until(lambda: "source warned" in client.get("/").text, "an old state is no warning")
    assert re.search(r"from Unleash, confirmed 1\d s ago", text(client.get("/")))
    console.port.state |= {"staleness_seconds": 0.1, "error": "Unleash at http://<u> can't be reached"}
    until(lambda: "http://&lt;u&gt; can" in client.get("/flags/").text, "its error is not said")
    assert "source warned" in client.get("/").text
    console.port.state |= {"error": "", "workers": {"0": True, "1": False}}
    until(lambda: "not every worker decides by it yet: 1" in text(client.get("/")), "a worker that is behind is not said")
    console.port.state |= {"staleness_seconds": None, "source": "none", "workers": {}}
    until(lambda: "never confirmed" in client.get("/").text, "no flags are not said")
    client.close()


def test_pages_stay_quick_beside_a_gateway_that_is_gone(console: Console) -> None:
    client = console.log_in()
    until(lambda: "every worker" in client.get("/").text, "the gateway was not asked")
    console.port.stop()
    until(lambda: "tells nothing" in client.get("/").text, "nobody says that the gateway is gone")
    said = text(client.get("/"))
    assert re.search(rf"admin port at {console.port.address} tells nothing: \[Errno 111\] Connection refused. It last did \d", said)
    for path in ("/", "/routes/reviews/", "/flags/"):
        assert quickest(client, path) < 0.9, f"{path} waited for the gateway"
    assert console.running.log.read_text().count("tells nothing") == 1
    console.port.start()
    until(lambda: "tells nothing" not in client.get("/").text, "it is not noticed that the gateway is back")
    client.close()


def test_pages_stay_quick_beside_a_gateway_that_hangs(console: Console) -> None:
    client = console.log_in()
    until(lambda: "every worker" in client.get("/").text, "the gateway was not asked")
    console.port.go.clear()
    until(lambda: "it did not answer within 1 s" in client.get("/").text, "nobody says that the gateway hangs")
    for path in ("/", "/routes/reviews/", "/flags/"):
        assert quickest(client, path) < 0.9, f"{path} waited for the gateway"
    client.close()
    began = time.monotonic()
    assert console.running.stop() == 0
    assert time.monotonic() - began < 8.0, "the end waited for the gateway"


def test_many_open_pages_ask_the_gateway_no_more_often(console: Console) -> None:
    client = console.log_in()
    cookies = dict(client.cookies)

    def look() -> None:
        with httpx.Client(base_url=console.running.url, cookies=cookies, timeout=20) as other:
            while time.monotonic() < end:
                assert other.get("/").status_code == 200

    end = time.monotonic() + 3.0
    before = len(console.port.asked)
    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = console.port.asked[before:]
    assert 2 <= asked.count("/flags") <= 5 + (time.monotonic() - end)
    client.close()


def test_flags_in_unleash_are_linked_to(port: AdminPort) -> None:
    port.state |= {"source": "unleash"}
    address = "http://unleash.test:4242/base/projects/default/features/reviews"
    with console_beside(port, UNLEASH) as console, closing(console.log_in()) as client:
        for path in ("/", "/routes/reviews/", "/flags/"):
            page = client.get(path).text
            assert f'href="{address}" rel="noreferrer"' in page
            assert f'href="{address}.shadow"' in page


@pytest.fixture
def page(console: Console) -> Iterator[Page]:
    with browser(console.running.url) as page:
        yield page


def eventful(console: Console) -> None:
    """Something of everything."""
    off, on = feature("reviews", False, description=HOSTILE), feature("reviews", True, description=HOSTILE)
    console.flags(on, feature("reviews.shadow", False), feature("search", True))
    console.port.state["problems"] = [{"flag": "search.shadow", "problem": f"the source does not have it {HOSTILE}"}]
    console.port.state["error"] = "it is away"
    console.port.state["overrides"] = {
        "reviews": {"enabled": False, "since": time.time(), "until": time.time() + 1800, "by": HOSTILE, "why": HOSTILE}
    }
    console.port.change("reviews", off, on)
    console.port.change("reviews", None, {"enabled": False, "until": time.time() + 1800}, kind="override", by=HOSTILE, why=HOSTILE)


@pytest.mark.browser
def test_the_page_follows_by_itself_and_foreign_text_stays_text(page: Page, console: Console) -> None:
    errors: list[str] = []
    dialogs: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.get_by_role("link", name="Flags", exact=True).click()
    page.get_by_text("No change was seen").wait_for()
    eventful(console)
    page.get_by_role("link", name="what changed of reviews, in JSON").nth(1).wait_for()
    row = page.locator("#changes tbody tr").nth(1)
    assert row.locator(".was").inner_text() == "off"
    assert row.locator(".is").inner_text() == "on for everybody"
    row.get_by_role("link", name="what changed of reviews").click()
    assert '"enabled": false' in page.locator("del").inner_text()
    assert '"enabled": true' in page.locator("ins").inner_text()
    page.goto("/flags/")
    page.get_by_label("Flag", exact=True).select_option("search")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("No change was seen of search").wait_for()
    for path in ("/", "/routes/reviews/", "/flags/"):
        page.goto(path)
        assert "<script>document.title='owned'</script>" in page.locator("main").inner_text()
        assert page.locator("main script, main img").count() == 0
    assert (dialogs, errors) == ([], [])


@pytest.mark.browser
def test_the_pages_are_accessible_light_and_dark_wide_and_narrow(page: Page, console: Console) -> None:
    from axe_playwright_python.sync_playwright import Axe

    eventful(console)
    page.goto("/flags/")
    page.get_by_role("link", name="what changed of reviews, in JSON").nth(1).wait_for()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
            for path in ("/", "/routes/reviews/", "/flags/", "/flags/changes/1/"):
                page.goto(path)
                results = Axe().run(page)
                assert results.violations_count == 0, f"{width} {scheme} {path}\n{results.generate_report()}"
                beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert beyond <= 0, f"{path} is wider than a window of {width}"


@pytest.mark.browser
def test_the_overview_fits_a_usual_window(page: Page, console: Console) -> None:
    counts = {
        "served.legacy": 12345,
        "served.candidate": 45678,
        "served.fallback": 3,
        "eligible": 50000,
        "matched": 49000,
        "mismatched": 120,
    }
    now = int(time.time()) - 5
    with closing(sqlite3.connect(console.folder / "var" / "banyan.sqlite3", isolation_level=None)) as database:
        insert(database, "reviews", now, counts)
    quarter = feature("reviews", True, strategies=[{"name": "flexibleRollout", "parameters": {"rollout": "25", "stickiness": "userId"}}])
    console.flags(quarter, feature("reviews.shadow", True))
    page.goto("/")
    page.get_by_text("on for 25 % of users").wait_for()
    page.get_by_text("99.75 %").wait_for()
    table = page.locator(".scroll").first
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, "a column is cut"


def test_nothing_is_lost_while_postgresql_is_away(port: AdminPort, tmp_path: Path) -> None:
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)

    def allow(yes: bool) -> None:
        with psycopg.connect(host=str(server.socket_dir), user=server.user, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS {str(yes).lower()}".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [server.database])

    try:
        with console_beside(port, f'[shadow]\ndatabase = "{server.url}"\n') as console:
            port.change("reviews", feature("reviews", False), feature("reviews", True))
            with closing(console.log_in()) as client:
                until(lambda: client.get("/flags/").text.count("difference</a>") == 1, "the change is not kept")
            allow(False)
            port.change("reviews", feature("reviews", True), feature("reviews", False), why="\0 is not for PostgreSQL")
            until(lambda: "changes of flags can't be kept" in console.running.log.read_text(), "nobody says that the database is away")
            time.sleep(2.5)
            allow(True)
            with closing(console.log_in()) as client:
                until(lambda: client.get("/flags/").text.count("difference</a>") == 2, "the change was lost")
            assert console.running.log.read_text().count("changes of flags can't be kept") == 1
    finally:
        server.stop()
