"""A real console in a process of its own, and ways in: over HTTP, and with Chromium."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from demo.processes import Running, answers, listen, start
from shadow.exchange import Exchange, encode
from tests.support.chromium import ARGUMENTS, CHROMIUM, required
from tests.support.shipping import connects

if TYPE_CHECKING:
    from playwright.sync_api import Page

USER, PASSWORD = "ada", "correct horse battery"


@contextmanager
def running_console(config: Path, **env: str) -> Iterator[Running]:
    """`python -m console` over that banyan.toml; its log is beside it. It has to end well, and without a traceback."""
    running = start(
        "console",
        [sys.executable, "-m", "console", "--config", str(config), "--fd", "{fd}"],
        log_dir=config.parent,
        sock=listen(),
        env={"BANYAN_CONSOLE_USER": USER, "BANYAN_CONSOLE_PASSWORD": PASSWORD, **env},
        ready=answers("/login/"),
    )
    try:
        yield running
        assert running.stop() == 0, running.tail()
        log = running.log.read_text()
        assert "Traceback" not in log
        assert "did not end in time" not in log
    finally:
        running.stop()


def give_role(folder: Path, role: str, user: str = USER) -> None:
    """Makes a user of the console whose SQLite file is below `folder` a reviewer, or an operator."""
    with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3", timeout=20)) as database, database:
        database.execute(
            "INSERT INTO auth_user_groups (user_id, group_id)"
            " SELECT auth_user.id, auth_group.id FROM auth_user, auth_group WHERE auth_user.username = ? AND auth_group.name = ?",
            [user, role],
        )


def store_exchanges(config: Path, exchanges: Iterable[Exchange], pause: float = 0.0) -> None:
    """Has a real shipper compare and store them, one after the other."""
    folder = config.parent
    shipper = start(
        "shipper",
        [sys.executable, "-m", "shadow.shipper", "--config", str(config), "--socket", str(folder / "s")],
        log_dir=folder,
        ready=lambda _: connects(folder / "s"),
    )
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(folder / "s"))
            for each in exchanges:
                sock.sendall(encode(each))
                time.sleep(pause)
        assert shipper.stop(30) == 0, shipper.tail()
    finally:
        shipper.stop()


def post(client: httpx.Client, path: str, /, **form: str) -> httpx.Response:
    """As a form of one of its pages does; redirects are followed where the client does."""
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/").text)
    assert token is not None
    return client.post(path, data={"csrfmiddlewaretoken": token[1], **form}, headers={"Referer": str(client.base_url)})


def log_in(running: Running) -> httpx.Client:
    """A client with a session; the caller closes it."""
    client = httpx.Client(base_url=running.url, follow_redirects=True, timeout=10)
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/login/").text)
    assert found is not None
    form = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
    assert client.post("/login/", data=form, headers={"Referer": running.url}).status_code == 200
    return client


@contextmanager
def new_page(url: str) -> Iterator[Page]:
    """Chromium's, which has opened nothing yet; what it opens is below `url`. Not on an event loop's thread."""
    required()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = launched.new_context(viewport={"width": 1280, "height": 900}, base_url=url).new_page()
        page.set_default_timeout(10_000)
        yield page
        launched.close()


def open_logged_in(page: Page, path: str = "/") -> None:
    """Goes to `path`, by way of the login."""
    page.goto(path)
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


@contextmanager
def browser(url: str, path: str = "/") -> Iterator[Page]:
    """Chromium on `path`, logged in. Not on an event loop's thread."""
    with new_page(url) as page:
        open_logged_in(page, path)
        yield page
