"""Recordings that the real tools have made, of the real shop: mitmdump, Chromium and nginx; read, broken, and replayed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import Running, python, start
from demo.shop import Shop, start_reviews, start_shop
from recorded.entry import Entry, Trouble
from recorded.reading import Format, Recording
from tests.support.chromium import ARGUMENTS, CHROMIUM, required
from tests.support.required import missing

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyparsing.*"),  # mitmproxy uses it in its old words
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mitmproxy.*"),
]

TOML = """
[upstreams]
legacy = "{shop}"
reviews = "{reviews}"
twin = "{shop}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
methods = ["GET", "HEAD"]
candidate = "reviews"
[[routes]]
name = "pages"
match = "/*"
candidate = "twin"
"""
PATHS = ["/", "/items/1/", "/items/2/", "/login/", "/?page=2", "/api/v1/items/1", "/nowhere"]
API = ["/api/v1/reviews/?item=1", "/api/v1/reviews/summary/1", "/api/v1/reviews/1"]


class World:
    def __init__(self, folder: Path, shop: Shop, reviews: Running) -> None:
        self.folder = folder
        self.shop = shop
        self.reviews = reviews
        (folder / "banyan.toml").write_text(TOML.format(shop=shop.url, reviews=reviews.url))

    def replay(self, path: Path, *options: str) -> dict[str, Any]:
        command = python("-m", "gateway.cli", "replay", str(path), "--config", str(self.folder / "banyan.toml"), "--rate", "0", "--json")
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shop")
    shop = start_shop(folder)
    try:
        reviews = start_reviews(folder, shop)
        try:
            yield World(folder, shop, reviews)
        finally:
            reviews.stop()
    finally:
        shop.stop()


def read(path: Path, form: Format | None = None) -> tuple[list[Entry], list[Trouble]]:
    with Recording(path, form) as recording:
        found = list(recording)
    return [each for each in found if isinstance(each, Entry)], [each for each in found if isinstance(each, Trouble)]


def differences(told: dict[str, Any]) -> list[str]:
    return [f"{line['kind']} {line['path']}" for route in told["routes"] for line in route["signatures"] if line["open"]]


def test_mitmdump(world: World, tmp_path: Path) -> None:
    path = tmp_path / "traffic.mitm"
    command = [str(Path(python()[0]).with_name("mitmdump")), "--mode", f"reverse:{world.shop.url}", "--listen-host", "127.0.0.1"]
    command += ["--listen-port", "0", "--set", f"confdir={tmp_path}", "--set", "termlog_verbosity=info", "--save-stream-file", str(path)]
    listening = re.compile(r"listening at 127\.0\.0\.1:(\d+)")
    running = start("mitmdump", command, log_dir=tmp_path, ready=lambda each: listening.search(each.log.read_text()) is not None)
    try:
        found = listening.search(running.log.read_text())
        assert found is not None
        with httpx.Client(base_url=f"http://127.0.0.1:{found[1]}") as client:
            for target in (*PATHS, *API):
                client.get(target)
            client.post("/login/", data={"username": "a", "password": "hunter2"})
        running.process.send_signal(signal.SIGINT)
        running.process.wait(20)
    finally:
        running.stop()
    entries, troubles = read(path)
    assert troubles == []
    assert [entry.target for entry in entries] == [*PATHS, *API, "/login/"]
    assert {entry.method for entry in entries} == {"GET", "POST"}
    assert entries[-1].body == b"username=a&password=hunter2"
    assert all(entry.at and entry.duration is not None and entry.answer_body is not None for entry in entries)
    told = world.replay(path)
    assert differences(told) == []
    assert (told["match_rate"], told["passed"], told["compared"]) == (1.0, True, len(PATHS) + len(API))
    pages = next(route for route in told["routes"] if route["route"] == "pages")
    assert pages["skipped"] == {"unsafe": 1}
    assert any(line["state"] == "noise" for line in pages["signatures"])  # the login form's token
    # Against what was recorded: the form's token is another now, and nothing else is.
    told = world.replay(path, "--against", "recorded,candidate", "--route", "pages")
    (again,) = told["routes"]
    noise = {(line["kind"], line["path"]) for line in pages["signatures"] if line["state"] == "noise"}
    assert again["compared"] == len(PATHS)
    assert {(line["kind"], line["path"]) for line in again["signatures"]} <= noise, again["signatures"]
    # Cut within the last flow but one.
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"/api/v1/reviews/1") - 10])
    entries, (trouble,) = read(path)
    assert [entry.target for entry in entries] == [*PATHS, *API][:-1]
    assert trouble == Trouble(len(entries) + 1, "the file ends within this flow")
    told = world.replay(path)
    assert (told["unread"], told["compared"]) == (1, len(entries))


@pytest.mark.browser
@pytest.mark.parametrize("content", ["embed", "omit"])
def test_a_har_of_chromiums_replays_clean(world: World, tmp_path: Path, content: Any) -> None:
    required()
    from playwright.sync_api import sync_playwright

    path = tmp_path / "shop.har"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        context = browser.new_context(base_url=world.shop.url, record_har_path=path, record_har_content=content)
        page = context.new_page()
        for target in PATHS:
            page.goto(target)
        page.goto("/")
        page.locator("a[href^='/items/']").first.click()
        page.wait_for_url("**/items/*/")  # a page that is left before it is whole has no body in the recording
        for target in API:
            page.evaluate("target => fetch(target).then(answer => answer.text())", target)
        context.close()
        browser.close()
    entries, troubles = read(path)
    assert troubles == []
    assert {*PATHS, *API} <= {entry.target for entry in entries}
    assert any(entry.target.startswith("/static/") for entry in entries)
    told = world.replay(path, "--min-match", "1")
    assert differences(told) == []
    assert (told["passed"], told["match_rate"], told["unread"]) == (True, 1.0, 0)
    assert told["compared"] == len(entries)
    assert {route["route"] for route in told["routes"]} == {"pages", "reviews"}
    if content == "embed":
        kept = [entry for entry in entries if entry.target == "/items/1/"]
        assert all(b"</html>" in (entry.answer_body or b"") for entry in kept)
    path.write_bytes(path.read_bytes()[:-2000])
    fewer, (trouble,) = read(path)
    assert 0 < len(fewer) < len(entries)
    assert trouble.why == "the file ends before its entries do"


def test_an_access_log_of_nginxs(world: World, tmp_path: Path) -> None:
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        missing("nginx is not installed (apt-get install nginx-light)")
    log = tmp_path / "access.log"
    config = tmp_path / "nginx.conf"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} http {{ {temporary} access_log {log} combined; "
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {world.shop.url}; proxy_set_header Host shop.test; }} }} }}"
    )

    def answering(_: Running) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    running = start("nginx", [binary, "-p", str(tmp_path), "-c", str(config)], log_dir=tmp_path, ready=answering)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for target in (*PATHS, *API):
                client.get(target)
            client.post("/login/", data={"username": "a"})
        with socket.socket() as junk:
            junk.connect(("127.0.0.1", port))
            junk.sendall(b"\x16\x03\x01\x00\xff junk\r\n\r\n")
            junk.recv(1000)
    finally:
        running.stop()
    entries, troubles = read(log)
    assert [entry.target for entry in entries][: len(PATHS) + len(API) + 1] == [*PATHS, *API, "/login/"]
    assert len(entries) + len(troubles) == len(log.read_text().splitlines())
    told = world.replay(log)
    assert differences(told) == []
    assert (told["passed"], told["compared"], told["format"]) == (True, len(PATHS) + len(API), "log")
