"""The real console on what the real shipper stored, asked over HTTP and looked at with Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from console import bodies
from demo.processes import Running, answers, listen, start
from shadow.exchange import Answer, Exchange, RouteCounts, Summary, encode
from tests.support.console import PASSWORD, USER, new_page, open_logged_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe"
TOML = """
[gateway]
admin = "127.0.0.1:0"
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[routes.gate]
minimum = 2
match = 0.2
[[routes]]
name = "quiet"
match = "/api/v1/quiet/*"
candidate = "reviews"
[[routes]]
name = "orders"
match = "/api/v1/orders/*"
candidate = "reviews"
[shadow]
database = "sqlite:///var/banyan.sqlite3"
"""


def exchange(
    legacy: Any, candidate: Any, *, content: bytes = b"application/json", statuses: tuple[int, int] = (200, 200), route: str = "reviews"
) -> Exchange:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    head = b"Content-Type: " + content + b"\r\nX-Note: <b>bold</b>\r\n"
    return Exchange(
        route, "req-<1>", time.time(), "GET", "/api/v1/reviews/7?q=<i>", b"", b"",
        Answer("legacy", "legacy", statuses[0], head, bodies[0], 0.012),
        Answer("candidate", "reviews", statuses[1], head, bodies[1], 0.004),
    )  # fmt: skip


ITEM = {"id": 7, "rating": 4.25, "count": 31, "texts": [f"review {n}" for n in range(40)], "author": HOSTILE}


@dataclass
class Console:
    running: Running
    folder: Path

    @property
    def url(self) -> str:
        return self.running.url


def connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def leave_early(port: int) -> None:
    """Asks for a page as twenty clients that do not wait for the answer."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


def remember_as_before(database: Path) -> None:
    """Beside what is stored of orders, the same as it was stored before refusals were a kind of their own."""
    with closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute("SELECT route, first_seen, last_seen FROM shadow_signature WHERE kind = 'authorization'").fetchone()
        old = connection.execute(
            "INSERT INTO shadow_signature (route, kind, path, state, count, first_seen, last_seen)"
            " VALUES (?, 'status', '403->200', 'bug', 4, ?, ?)",
            found,
        ).lastrowid
        columns = "at, request_id, method, target, served, legacy, candidate, cut"
        sample = connection.execute(
            f"INSERT INTO shadow_sample ({columns}, differences) SELECT {columns}, replace(differences, 'authorization', 'status')"  # noqa: S608
            " FROM shadow_sample WHERE differences LIKE '%authorization%'"
        ).lastrowid
        connection.execute("INSERT INTO shadow_sighting (signature_id, sample_id) VALUES (?, ?)", (old, sample))


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    (folder / "banyan.toml").write_text(TOML)
    config = str(folder / "banyan.toml")
    shipper = start(
        "shipper",
        [sys.executable, "-m", "shadow.shipper", "--config", config, "--socket", str(folder / "s")],
        log_dir=folder,
        ready=lambda _: connect(folder / "s"),
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(folder / "s"))
        now = time.time()
        records = [
            Summary(
                now, "w", {"reviews": RouteCounts(legacy=8, eligible=8, captured=5, skipped={"too_large": 2}, dropped={"queue_full": 1})}
            ),
            *(exchange(ITEM, ITEM) for _ in range(3)),
            exchange(ITEM, ITEM | {"rating": 4.3, "count": "31", "author": HOSTILE + "!"}),
            exchange([{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 1}]),
            exchange({"error": "not yours"}, ITEM, statuses=(403, 200), route="orders"),
        ]
        sock.sendall(b"".join(map(encode, records)))
    assert shipper.stop() == 0, shipper.tail()
    remember_as_before(folder / "var" / "banyan.sqlite3")
    sock = listen()
    leave_early(sock.getsockname()[1])
    running = start(
        "console",
        [sys.executable, "-m", "console", "--config", config, "--fd", "{fd}"],
        log_dir=folder,
        sock=sock,
        env={"BANYAN_CONSOLE_USER": USER, "BANYAN_CONSOLE_PASSWORD": PASSWORD},
        ready=answers("/login/"),
    )
    yield Console(running, folder)
    assert running.stop() == 0
    log = running.log.read_text()
    shutil.rmtree(folder)
    assert "Traceback" not in log
    assert "Warning" not in log
    assert PASSWORD not in log


@pytest.fixture
def client(console: Console) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=console.url, follow_redirects=True) as client:
        yield client


def log_in(client: httpx.Client, password: str = PASSWORD) -> httpx.Response:
    page = client.get("/login/")
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    form = {"username": USER, "password": password, "csrfmiddlewaretoken": found[1]}
    return client.post("/login/", data=form, headers={"Referer": str(client.base_url)})


@pytest.mark.parametrize("path", ["/", "/routes/reviews/", "/signatures/1/", "/signatures/1/samples/1/"])
def test_every_page_needs_a_login(client: httpx.Client, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("/login/?next=")
    assert "reviews" not in answer.text


def test_a_wrong_password_is_no_login(client: httpx.Client) -> None:
    assert "belong together" in log_in(client, "wrong").text
    assert client.get("/", follow_redirects=False).status_code == 302


def test_another_hosts_name_is_refused_without_a_word_in_the_log(client: httpx.Client, console: Console) -> None:
    assert client.get("/login/", headers={"Host": "evil.test"}).status_code == 400
    assert "evil.test" not in console.running.log.read_text()


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(2000))),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 3_000_000),
        ("multipart/form-data", b"no boundary"),
    ],
    ids=["many fields", "large", "multipart"],
)
def test_what_anybody_can_send_is_refused_without_a_word_in_the_log(
    client: httpx.Client, console: Console, content: str, body: bytes
) -> None:
    before = console.running.log.read_text()
    token = {"Cookie": f"banyan_console_csrf={'a' * 32}"}
    assert client.post("/login/", content=body, headers={"Content-Type": content, **token}).status_code == 400
    assert console.running.log.read_text() == before


def head_of_answer(port: int, fields: str, body: bytes) -> bytes:
    """What is answered to a POST of so much, though its end never comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        head = f"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n{fields}\r\n\r\n"
        sock.sendall(head.encode() + body)
        return sock.recv(4096)


def test_a_body_without_end_is_not_read_to_its_end(console: Console, client: httpx.Client) -> None:
    """Nobody has logged in, and it would be a file on this machine's disk."""
    assert head_of_answer(console.running.port, f"Content-Length: {bodies.MOST + 1}", b"").startswith(b"HTTP/1.1 413 ")
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'.ljust(bodies.MOST + 1, b"a")
    chunk = f"{2 * len(part):x}\r\n".encode() + part
    assert head_of_answer(console.running.port, "Transfer-Encoding: chunked", chunk).startswith(b"HTTP/1.1 413 ")
    assert client.post("/login/", content=b"a" * 100_000).status_code == 403, "shorter ones are Django's"


@pytest.mark.parametrize("password", ["tiny9", "password123"])
def test_a_password_that_breaks_the_rules_ends_the_start(tmp_path: Path, password: str) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    ended = subprocess.run(
        [sys.executable, "-m", "console", "--config", str(tmp_path / "banyan.toml"), "--listen", "127.0.0.1:0"],
        env={**os.environ, "BANYAN_CONSOLE_USER": "ann", "BANYAN_CONSOLE_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("console: BANYAN_CONSOLE_PASSWORD: This password is too ")
    assert ended.stderr.endswith(" Choose another\n")
    assert password not in ended.stderr


def test_a_database_that_cannot_be_reached_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(TOML.replace("sqlite:///var/banyan.sqlite3", "postgres://u:hunter2@127.0.0.1:1/banyan"))
    ended = subprocess.run(
        [sys.executable, "-m", "console", "--config", str(tmp_path / "banyan.toml"), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"console: {tmp_path}/banyan.toml: shadow.database: connection failed: ")
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr


def test_every_middleware_is_async() -> None:
    """One that is not ends in the deadlock that console.assets tells of: sometimes, so it is asserted where it is decided."""
    assert [name for name in settings.MIDDLEWARE if not import_string(name).async_capable] == []


def test_clients_that_leave_hold_nobody_up(console: Console, client: httpx.Client) -> None:
    leave_early(console.running.port)
    assert client.get("/login/").status_code == 200
    # A page that waits: logging in writes, and somebody else has the database's only writer's place.
    with closing(sqlite3.connect(console.folder / "var" / "banyan.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with httpx.Client(base_url=console.url, timeout=2) as impatient, pytest.raises(httpx.ReadTimeout):
            log_in(impatient)
        assert client.get("/login/").status_code == 200
        other.execute("ROLLBACK")
    assert "reviews" in log_in(client).text


def test_a_refresh_without_a_session_loads_the_whole_page_anew(client: httpx.Client) -> None:
    assert client.get("/", headers={"HX-Request": "true"}).headers["hx-refresh"] == "true"
    assert "hx-refresh" not in client.get("/").headers


def test_the_overview_shows_match_rate_and_coverage_beside_each_other(client: httpx.Client) -> None:
    page = log_in(client).text
    assert re.search(r"60\.00 %.*62\.5 %", page, re.DOTALL)
    assert "5 of 8" in page
    assert "not yet" in page, "its own gate: 2 comparisons and 20 % would do, but signatures are open"
    assert "passes" not in page
    assert "/api/v1/quiet/*" in page
    page = client.get("/routes/reviews/?span=15m").text
    assert "review the new, mend the bugs" in page
    assert "counted since 24 h ago" in page, "whatever span is shown"


def test_a_sample_shows_its_request_and_what_was_said_of_it(client: httpx.Client, console: Console) -> None:
    log_in(client)
    with closing(sqlite3.connect(console.folder / "var" / "banyan.sqlite3")) as connection, connection:
        (number,) = connection.execute("SELECT id FROM shadow_signature WHERE path = '$.count'").fetchone()
        connection.execute(
            "INSERT INTO shadow_statechange (signature_id, at, old, new, by, why) VALUES (?, 1, 'new', 'bug', '<i>ada', '\u202ewhy')",
            (number,),
        )
    page = client.get(f"/signatures/{number}/").text
    assert "curl --globoff --include --header user-agent: --header accept: &#x27;http://GATEWAY/api/v1/reviews/7?q=&lt;i&gt;&#x27;" in page
    assert "Who called is not in it: Authorization and Cookie are never captured." in page
    assert "by <strong>&lt;i&gt;ada</strong>: \\u202ewhy</li>" in page


def test_headers_keep_foreign_content_harmless(client: httpx.Client) -> None:
    log_in(client)
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "style=" not in answer.text
    cookies = [cookie for cookie in client.cookies.jar if cookie.name == "banyan_console_session"]
    assert cookies[0].has_nonstandard_attr("HttpOnly")
    for asset in re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text):
        assert client.get(asset).status_code == 200, asset
    assert "//" not in re.sub(r"<a[^>]*>", "", answer.text.split("</head>")[0]).replace("<!--", "")


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    log_in(client)
    for path in ("/routes/nothing/", "/signatures/99999/", "/signatures/1/samples/99999/", "/nothing/"):
        assert client.get(path).status_code == 404
    assert client.get("/routes/quiet/").status_code == 200
    assert client.post("/", headers={"Referer": str(client.base_url)}).status_code in (403, 405)


def test_who_may_see_what_is_a_kind_of_its_own_and_what_was_stored_before_stays_as_it_was(client: httpx.Client) -> None:
    log_in(client)
    page = client.get("/routes/orders/").text
    links = dict(re.findall(r'kind-(authorization|status)">[^<]*</span></td>.*?href="(/signatures/\d+/)"', page, re.DOTALL))
    assert set(links) == {"authorization", "status"}
    for kind, link in links.items():
        shown = client.get(link).text
        assert f'<span class="pill kind-{kind}">{kind}</span> <span class="path">403-&gt;200</span>' in shown
        assert f'<tr class="own">\n    <td><span class="pill kind-{kind}">' in shown
        assert ("One refused with 401, 403 or 404" in shown) is (kind == "authorization")


def test_files_are_for_their_owner_alone(console: Console) -> None:
    for name in ("banyan.sqlite3", "console.key", "redact.key"):
        assert stat.S_IMODE((console.folder / "var" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("nonsense", {}, "is not TOML"),
        (TOML.replace("sqlite:///var/banyan.sqlite3", "mysql://u:secret@h/d"), {}, 'write "sqlite:///path" or "postgres://'),
        (TOML, {"BANYAN_CONSOLE_USER": "x"}, "set both"),
        (TOML.replace("sqlite:///var/banyan.sqlite3", "postgres://u:secret@127.0.0.1:1/d"), {}, "shadow.database"),
    ],
)
def test_what_cannot_start_says_why_in_one_message(tmp_path: Path, text: str, environment: dict[str, str], message: str) -> None:
    (tmp_path / "banyan.toml").write_text(text)
    command = [sys.executable, "-m", "console", "--config", str(tmp_path / "banyan.toml"), "--listen", "127.0.0.1:0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment})
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr


@pytest.fixture
def page(console: Console) -> Iterator[Page]:
    with new_page(console.url) as page:
        yield page


@pytest.mark.browser
def test_from_the_login_to_a_marked_difference(page: Page) -> None:
    errors: list[str] = []
    dialogs: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_logged_in(page)

    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="reviews", exact=True))
    assert "60.00 %" in row.inner_text()
    assert "62.5 %" in row.inner_text()
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true") as refreshed:
        pass  # the overview refreshes itself
    assert refreshed.value.status == 200

    page.get_by_role("link", name="reviews", exact=True).click()
    page.get_by_role("link", name="$.count").click()
    assert page.locator(".differences tr.own .path").inner_text() == "$.count"
    assert page.locator(".differences tr.own .was").inner_text() == "31"
    assert page.locator(".differences tr.own .is").inner_text() == '"31"'
    marked = page.locator(".diff .row.differs")
    assert marked.count() == 3
    count = marked.filter(has_text="count")
    assert count.locator(".legacy").inner_text().strip() == '"count": 31'
    assert count.locator(".candidate").inner_text().strip() == '"count": "31"'
    colours = [count.locator(side).evaluate("e => getComputedStyle(e).backgroundColor") for side in (".legacy", ".candidate")]
    assert len({*colours, "rgba(0, 0, 0, 0)"}) == 3, "both sides are marked, each in its own colour"
    assert "equal lines" in page.locator(".diff summary").first.inner_text()

    text = page.locator("main").inner_text()
    assert "<script>document.title='owned'</script>" in text
    assert "\\u202egnp.exe" in text
    assert "\u202e" not in page.content()
    assert "<b>bold</b>" in text
    assert page.title().startswith("type $.count")
    assert page.locator("main script, main img").count() == 0
    assert (dialogs, errors) == ([], [])


@pytest.mark.browser
def test_the_page_is_accessible_light_and_dark(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    open_logged_in(page)
    page.wait_for_selector("#routes table")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
        for path in ("/", "/routes/reviews/", "/signatures/1/"):
            page.goto(path)
            results = Axe().run(page)
            assert results.violations_count == 0, f"{scheme} {path}\n{results.generate_report()}"
