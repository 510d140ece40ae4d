"""The pages about endpoints: what is asked for, whether to migrate it next, and what to write for it."""

from __future__ import annotations

import html
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console import endpointwatch
from console.endpointwatch import EndpointWatch
from gateway.config import load, parse
from gateway.endpoints.figures import Figures
from gateway.endpoints.live import MinuteFigures
from shadow import endpoint_store
from shadow.models import EndpointSpan
from tests.support.admin_port import AdminPort, admin_port
from tests.support.console import browser, log_in, running_console

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "/<script>document.title='owned'</script>/\u202egnp.exe"
TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
methods = ["GET", "HEAD"]
candidate = "reviews"
"""


def figures(count: float, seconds: float = 0.05, status: int = 200, side: str = "legacy", route: str = "", cache: int = 0) -> Figures:
    found = Figures()
    found.observe(("GET", b"/", route, side, status, seconds, cache), count)
    return found


def minute(at: float, *endpoints: tuple[str, str, Figures], rest: float = 0.0, complete: bool = True) -> MinuteFigures:
    return MinuteFigures(int(at) // 60 * 60, complete, list(endpoints), figures(rest) if rest else Figures())


def shop(at: float) -> MinuteFigures:
    """A minute of a shop."""
    broken = figures(10, 0.01)
    broken.merge(figures(10, 0.01, 500))
    return minute(
        at,
        ("GET", "/api/v1/items/{id}", figures(600, 0.1)),
        ("POST", "/api/v1/orders/", figures(60, 0.5, 201)),
        ("GET", "/api/v1/reviews/{id}", figures(1200, 0.02)),
        ("GET", "/broken", broken),
        ("GET", "/static/{hash}.js", figures(100, 0.001, cache=1)),
        rest=30.0,
        complete=False,
    )


@pytest.fixture
def viewer(client: Client, settings: Any, tmp_path: Path) -> Client:
    """Somebody with no role at all, in a console that knows banyan.toml."""
    (tmp_path / "banyan.toml").write_text(TOML.format(admin="127.0.0.1:0"))
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    client.force_login(User.objects.create_user("vera"))
    return client


def text(page: str) -> str:
    """Without its tags, as one line."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def order(page: str) -> list[str]:
    """The paths of the table's rows."""
    return re.findall(r'<th scope="row">.*?class="path">([^<]*)<', page, re.DOTALL)


@pytest.mark.django_db
def test_endpoints_are_listed_by_what_they_take_of_legacys_time(viewer: Client) -> None:
    endpoint_store.record("run-1", [shop(time.time())], now=time.time())
    page = viewer.get("/endpoints/").content.decode()
    assert order(page) == ["/api/v1/items/{id}", "/api/v1/orders/", "/api/v1/reviews/{id}", "/broken", "/static/{hash}.js"]
    shown = text(page)
    assert "2,010 requests" in shown, "the rest among them"
    assert "60.0 s" in shown
    assert "good next start migrating + for it: it takes 51" in shown
    assert "against it: it writes" in shown
    assert "50.0 % 5xx" in shown
    assert "30 requests" in shown
    assert "caches may keep 100 %" in shown
    assert re.search(r'<a [^>]*href="/routes/reviews/">reviews</a>', page), "by the configuration, whatever was so at its time"
    assert page.count(">start migrating</a>") == 4


@pytest.mark.django_db
def test_where_both_answer_each_ones_times_are_told_apart(viewer: Client) -> None:
    both = figures(90, 0.2)
    both.merge(figures(10, 0.004, side="candidate"))
    told = minute(time.time(), ("GET", "/api/v1/reviews/{id}", both), ("GET", "/one", figures(9, 0.2)))
    endpoint_store.record("run-1", [told], now=time.time())
    for address in ("/endpoints/", "/endpoints/start/?method=GET&template=/api/v1/reviews/{id}"):
        shown = text(viewer.get(address).content.decode())
        found = re.search(r"L (\d+) ms / (\d+) ms C (\d\.\d) ms / (\d\.\d) ms", shown)
        assert found is not None, shown
        assert 190 <= int(found[1]) == int(found[2]) <= 220
        assert 3.9 <= float(found[3]) == float(found[4]) <= 4.5
    alone = text(viewer.get("/endpoints/start/?method=GET&template=/one").content.decode())
    assert not re.search(r"C \d", alone)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=requests", ["/api/v1/reviews/{id}", "/api/v1/items/{id}", "/static/{hash}.js", "/api/v1/orders/", "/broken"]),
        ("sort=errors&q=ite", ["/api/v1/items/{id}"]),
        ("sort=errors", ["/broken", "/api/v1/reviews/{id}", "/api/v1/items/{id}", "/static/{hash}.js", "/api/v1/orders/"]),
        ("sort=p95&q=API", ["/api/v1/orders/", "/api/v1/items/{id}", "/api/v1/reviews/{id}"]),
        ("sort=next&routed=no", ["/api/v1/items/{id}", "/api/v1/orders/", "/broken", "/static/{hash}.js"]),
        ("routed=yes", ["/api/v1/reviews/{id}"]),
        ("q=post", ["/api/v1/orders/"]),
        ("q=nothing", []),
        ("sort=x&span=y&routed=z", ["/api/v1/items/{id}", "/api/v1/orders/", "/api/v1/reviews/{id}", "/broken", "/static/{hash}.js"]),
    ],
)
def test_they_can_be_sorted_and_filtered(viewer: Client, query: str, expected: list[str]) -> None:
    endpoint_store.record("run-1", [shop(time.time())], now=time.time())
    page = viewer.get(f"/endpoints/?{query}")
    assert page.status_code == 200
    assert order(page.content.decode()) == expected
    if not expected:
        assert "No endpoint is like that" in page.content.decode()


@pytest.mark.django_db
def test_gateways_add_up_and_the_range_counts(viewer: Client) -> None:
    now = time.time()
    endpoint_store.record("run-1", [shop(now), shop(now - 1800)], now=now)
    endpoint_store.record("run-2", [shop(now)], now=now)
    assert "4,020 requests" in text(viewer.get("/endpoints/?span=15m").content.decode())
    assert "6,030 requests" in text(viewer.get("/endpoints/?span=1h").content.decode())
    assert "6,030 requests" in text(viewer.get("/endpoints/?span=all").content.decode())


@pytest.mark.django_db
def test_nothing_seen_is_said_and_old_figures_are_called_old(viewer: Client) -> None:
    assert "No request was seen in this time" in viewer.get("/endpoints/").content.decode()
    then = time.time() - 1000
    endpoint_store.record("run-1", [shop(then)], now=then)
    assert "There is nothing newer than the minute of" in viewer.get("/endpoints/").content.decode()


@pytest.mark.django_db
def test_a_page_costs_a_few_queries_however_much_there_is(viewer: Client) -> None:
    now = time.time()
    counts = []
    for minutes in (1, 40):
        for number in range(minutes):
            told = [("GET", f"/e{index}/{{id}}", figures(index + 1)) for index in range(60)]
            endpoint_store.record("run-1", [minute(now - 60 * number, *told, rest=5)], now=now)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert viewer.get("/endpoints/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def start(client: Client, method: str, template: str) -> Any:
    return client.get("/endpoints/start/", {"method": method, "template": template})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "template", "name"),
    [("GET", "/api/v1/items/{id}", "items-detail"), ("POST", "/api/v1/orders/", "orders"), ("GET", "/broken", "broken")],
)
def test_what_is_to_be_written_can_be_written(viewer: Client, tmp_path: Path, method: str, template: str, name: str) -> None:
    endpoint_store.record("run-1", [shop(time.time())], now=time.time())
    page = start(viewer, method, template)
    assert page.status_code == 200
    toml = html.unescape(re.findall(r'<pre id="toml"[^>]*>(.*?)</pre>', page.content.decode(), re.DOTALL)[0])
    assert tomllib.loads(toml)["routes"][0]["name"] == name
    config = parse(tmp_path / "banyan.toml", (tmp_path / "banyan.toml").read_text() + toml)
    (route,) = [route for route in config.routes if route.name == name]
    assert method in route.methods
    shown = text(page.content.decode())
    commands = re.findall(r'<pre id="(?:begin|later|back)-\d"[^>]*>([^<]*)</pre>', page.content.decode())
    assert commands[:2] == ["banyan check", "banyan flags sync"]
    assert commands[-4:] == [f"banyan flags set {name} {share}%" for share in (1, 25, 100)] + [f"banyan flags off {name}"]
    assert (f"banyan flags on {name}.shadow" in shown) is (method == "GET")
    assert ("sandbox" in shown) is (method == "POST")
    assert "where the new service is" in shown
    assert "would be refused" not in shown


@pytest.mark.django_db
def test_what_would_be_refused_is_said(viewer: Client, tmp_path: Path) -> None:
    both = [("GET", "/api/v1/reviews", figures(5)), ("GET", "/api/v1/reviews/{id}", figures(5))]
    endpoint_store.record("run-1", [minute(time.time(), *both)], now=time.time())
    assert 'name = "reviews-2"' in html.unescape(start(viewer, "GET", "/api/v1/reviews").content.decode())
    assert "It belongs to a route already:" in start(viewer, "GET", "/api/v1/reviews/{id}").content.decode()
    # Tables that are written as one value cannot be added to further down.
    (tmp_path / "banyan.toml").write_text('upstreams = { legacy = "http://127.0.0.1:1" }\n')
    page = start(viewer, "GET", "/api/v1/reviews").content.decode()
    assert "would be refused: " in text(page)


@pytest.mark.django_db
def test_of_what_was_never_seen_there_is_no_page(viewer: Client) -> None:
    endpoint_store.record("run-1", [shop(time.time())], now=time.time())
    assert start(viewer, "GET", "/nothing").status_code == 404
    assert start(viewer, "DELETE", "/broken").status_code == 404
    assert viewer.get("/endpoints/start/").status_code == 404


@pytest.mark.django_db
def test_nothing_here_can_be_changed(viewer: Client, client: Client) -> None:
    for path in ("/endpoints/", "/endpoints/start/"):
        assert viewer.post(path).status_code == 405
    assert "no-cache" in viewer.get("/endpoints/").headers["cache-control"]
    client.logout()
    assert client.get("/endpoints/").headers["location"].startswith("/login/?next=")


@pytest.mark.django_db
def test_hostile_paths_are_text(viewer: Client) -> None:
    endpoint_store.record("run-1", [minute(time.time(), ("GET", HOSTILE, figures(5)))], now=time.time())
    for page in (viewer.get("/endpoints/"), viewer.get("/endpoints/", {"q": HOSTILE}), start(viewer, "GET", HOSTILE)):
        assert page.status_code == 200
        assert "<script>document" not in page.content.decode()
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", page.content.decode())


# Keeping what a gateway tells


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


def configured(folder: Path, port: AdminPort) -> Path:
    (folder / "banyan.toml").write_text(TOML.format(admin=port.address))
    return folder / "banyan.toml"


@pytest.fixture
def watch(port: AdminPort, tmp_path: Path) -> Iterator[EndpointWatch]:
    """Not started: the test takes each look itself."""
    made = EndpointWatch(load(configured(tmp_path, port)), port.address)
    yield made
    made._port.close()


def told(*minutes: MinuteFigures) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(list(minutes)))
    return found


def kept() -> dict[str, float]:
    found, rest, _ = endpoint_store.figures(0.0)
    return {template: each.count for (_, template), each in found.items()} | {"rest": rest.count}


@pytest.mark.django_db
def test_what_a_gateway_tells_is_kept_once(port: AdminPort, watch: EndpointWatch) -> None:
    now = time.time()
    item = "/api/v1/items/{id}"
    port.minutes = told(minute(now - 60, ("GET", item, figures(7))), minute(now, ("GET", item, figures(2)), complete=False))
    watch._once()
    watch._once()
    assert (watch.error, kept()[item]) == ("", 9.0)
    port.minutes = told(minute(now - 60, ("GET", item, figures(7))), minute(now, ("GET", item, figures(5)), rest=1, complete=False))
    watch._once()
    assert kept() == {item: 12.0, "rest": 1.0}
    assert port.asked[-1] == f"/top/minutes?after={int(now - 60) // 60 * 60}"
    port.restart()
    port.minutes = told(minute(now, ("GET", item, figures(1)), complete=False))
    watch._once()
    assert port.asked[-1] == "/top/minutes?after=0"
    assert kept()[item] == 13.0, "another run of it"


@pytest.mark.django_db
def test_while_the_database_is_away_nothing_is_lost(port: AdminPort, watch: EndpointWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    port.minutes = told(minute(time.time() - 60, ("GET", "/a", figures(7))))

    def broken(*_: object, **__: object) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(endpoint_store, "record", broken)
        watch._once()
        assert watch.error == "the database can't be written"
    watch._once()
    assert (watch.error, kept()["/a"]) == ("", 7.0)


@pytest.mark.django_db
def test_a_gateway_that_says_nothing_usable_is_an_error_and_no_end(port: AdminPort, watch: EndpointWatch) -> None:
    port.status = 404
    watch._once()
    assert watch.error == "it answered 404 to /top/minutes"
    port.status = 200
    port.minutes = [{"at": 1, "complete": True}]
    watch._once()
    assert "not what this console reads" in watch.error
    port.stop()
    watch._once()
    assert "refused" in watch.error
    assert EndpointSpan.objects.count() == 0


# In Chromium


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield made
    shutil.rmtree(made)


def until(said: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_person_finds_what_to_migrate_and_takes_what_to_write(port: AdminPort, folder: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    began = time.time()  # of both: another minute would be added to this one
    port.minutes = told(shop(began))
    with running_console(configured(folder, port)) as running:
        client = log_in(running)
        until(lambda: "start migrating" in client.get("/endpoints/").text, "what the gateway tells is not shown")
        client.close()
        with browser(running.url, "/endpoints/") as page:
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            fits(page, Axe)
            # It moves by itself.
            more = shop(began)
            more.endpoints.append(("GET", "/new", figures(5000, 0.5)))
            port.minutes = told(more)
            page.set_viewport_size({"width": 800, "height": 900})
            page.evaluate("document.querySelector('.scroll').scrollLeft = 200")
            page.get_by_role("link", name="start migrating GET /broken").focus()
            left = page.evaluate("document.querySelector('.scroll').scrollLeft")
            page.get_by_text("/new", exact=True).wait_for(timeout=15_000)
            assert page.evaluate("document.querySelector('.scroll').scrollLeft") == left > 0
            assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "start migrating GET /broken"
            assert page.locator("tbody").count() == 1
            assert "legacy worked 2616 s" in page.locator("#totals").inner_text()
            page.set_viewport_size({"width": 1280, "height": 900})
            page.get_by_label("Path contains").fill("items")
            page.get_by_label("Path contains").press("Enter")
            assert page.locator("tbody tr").count() == 1
            page.get_by_role("link", name="start migrating GET /api/v1/items/{id}").focus()
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="1. Put this at the end of banyan.toml").wait_for()
            fits(page, Axe)
            page.get_by_role("button", name="Copy").first.click()
            page.get_by_text("Copied.").wait_for()
            copied = page.evaluate("navigator.clipboard.readText()")
            assert parse(folder / "banyan.toml", (folder / "banyan.toml").read_text() + copied).routes[1].name == "items-detail"


def test_a_person_sees_how_much_of_legacy_is_left(port: AdminPort, folder: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    minute = shop(time.time())
    minute.endpoints.append(("GET", "/api/v1/reviews/", figures(3000, side="candidate")))
    port.minutes = told(minute)
    with running_console(configured(folder, port)) as running:
        client = log_in(running)
        until(lambda: "start migrating" in client.get("/endpoints/").text, "what the gateway tells is not shown")
        client.close()
        with browser(running.url, "/endpoints/") as page:
            page.get_by_role("link", name="Burndown").click()
            page.get_by_role("heading", name="What can be removed from legacy").wait_for()
            assert "of the traffic and 5 of 6 endpoints" in page.locator("main").inner_text()
            assert "not to be removed yet" in page.locator("#route-reviews").inner_text()
            fits(page, Axe)
            page.get_by_role("link", name="30 days").click()
            page.get_by_text("That cannot be said yet: nothing is kept of so long ago.").wait_for()


def fits(page: Page, axe: Any) -> None:
    """At both widths, without anything serious for those who do not see it."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = [each for each in axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        assert found == [], [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
    page.set_viewport_size({"width": 1280, "height": 900})


def test_without_a_gateway_the_page_says_so(folder: Path) -> None:
    (folder / "banyan.toml").write_text(TOML.format(admin="127.0.0.1:1"))
    with running_console(folder / "banyan.toml") as running:
        client = log_in(running)
        until(lambda: "tells nothing new of its endpoints:" in client.get("/endpoints/").text, "nothing is said")
        assert isinstance(client, httpx.Client)
        client.close()
    assert endpointwatch.INTERVAL <= 10
