"""The whole of it: a person flips a flag in the real Unleash, and the console says what changed, for whom, and who did it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from demo.processes import Running, python, start
from demo.unleash import RunningUnleash
from flags.admin import UnleashAdmin
from flags.events import PUBLISHED_SECONDS
from tests.support.console import log_in, running_console
from tests.support.gateway import listening

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

FLAG = "console.flip"
PLACE = f"/api/admin/projects/default/features/{FLAG}/environments/development"
TOML = """
[gateway]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
workers = 1
[flags]
source = "unleash"
url = "{url}"
token = "${{TEST_UNLEASH_TOKEN}}"
admin_token = "${{TEST_UNLEASH_ADMIN_TOKEN}}"
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
flag = "{flag}"
"""


@contextmanager
def serving(folder: Path, unleash: RunningUnleash) -> Iterator[Running]:
    """A gateway and a console beside it; yields the console."""
    config = folder / "banyan.toml"
    config.write_text(TOML.format(url=unleash.api_url, flag=FLAG))
    tokens = {"TEST_UNLEASH_TOKEN": unleash.client_token, "TEST_UNLEASH_ADMIN_TOKEN": unleash.admin_token}
    gateway = start("gateway", python("-m", "gateway.cli", "run", "--config", str(config)), log_dir=folder, env=tokens, ready=listening)
    try:
        found = re.search(r"admin on (127\.0\.0\.1:\d+)", gateway.log.read_text())
        assert found is not None, gateway.tail()
        with running_console(config, **tokens, BANYAN_CONSOLE_ADMIN=found[1]) as console:
            yield console
            assert unleash.admin_token not in console.log.read_text()
    finally:
        gateway.stop()


def changes(client: httpx.Client) -> list[str]:
    """The rows of the record, newest first, as text."""
    page = client.get("/flags/", params={"flag": FLAG})
    assert page.status_code == 200
    table = page.text.partition('id="changes"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in table.split("<tr>")[1:]]


def until(said: Callable[[], bool], client: httpx.Client) -> None:
    deadline = time.monotonic() + 15
    while not said():
        assert time.monotonic() < deadline, changes(client)
        time.sleep(0.2)


def test_who_flipped_it_is_on_the_page(unleash: RunningUnleash, tmp_path: Path) -> None:
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin, httpx.Client(base_url=unleash.url, timeout=5) as person:
        admin.ensure_flag(FLAG, "flipped by a person")
        admin.set(FLAG, False, 25)
        time.sleep(PUBLISHED_SECONDS)  # an event so close to a look at Unleash may be part of what comes after it, and is named with it
        login = {"username": unleash.username, "password": unleash.password}
        assert person.post("/auth/simple/login", json=login).status_code == 200
        with serving(tmp_path, unleash) as console, closing(log_in(console)) as client:
            until(lambda: "from Unleash, " in client.get("/").text, client)
            assert f'href="{unleash.url}/projects/default/features/{FLAG}"' in client.get("/").text
            assert changes(client) == []

            assert person.post(f"{PLACE}/on").status_code == 200
            until(lambda: bool(changes(client)) and " admin difference" in changes(client)[0], client)
            (first,) = changes(client)
            assert f"{FLAG} off on for 25 % of users admin difference" in first
            until(lambda: ">on for 25 % of users</span>" in client.get("/").text, client)

            admin.set(FLAG, True, 50)
            until(lambda: len(changes(client)) == 2 and "(a token)" in changes(client)[0], client)
            assert f"{FLAG} on for 25 % of users on for 50 % of users admin (a token) difference" in changes(client)[0]

            unleash.running.process.send_signal(19)  # stopped: it takes connections and says nothing
            try:
                until(lambda: "source warned" in client.get("/").text, client)
                until(lambda: re.search(r"confirmed 1\d s ago", client.get("/").text) is not None, client)
                assert ">on for 50 % of users</span>" in client.get("/").text, "the last good state stands"
            finally:
                unleash.running.process.send_signal(18)
            until(lambda: "source warned" not in client.get("/").text, client)
