"""The guard on a real Unleash: the flag is off there, once, however many gateways saw it; with Unleash away, legacy answers at once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from demo.unleash import RunningUnleash
from flags.admin import UnleashAdmin
from tests.support.guarding import asking, changes, is_off, running, until

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300), pytest.mark.asyncio]


def flags(unleash: RunningUnleash, url: str = "") -> str:
    settings = {
        "source": "unleash",
        "url": url or unleash.api_url,
        "token": unleash.client_token,
        "admin_token": unleash.admin_token,
        "refresh": "200ms",
    }
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())


def made(unleash: RunningUnleash, name: str) -> Callable[[], bool]:
    """Makes the flag, on. What is returned says whether it still is."""
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        admin.ensure_flag(name)
        admin.set(name, True, 100)

    def asked() -> bool:
        with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
            return admin.enabled(name)

    return asked


def switched_off(unleash: RunningUnleash, name: str) -> int:
    """How often, by Unleash's own record."""
    with httpx.Client(base_url=unleash.api_url, headers={"Authorization": unleash.admin_token}, timeout=10) as client:
        events = client.get(f"/admin/events/{name}").raise_for_status().json()["events"]
    return sum(1 for event in events if event["type"] == "feature-environment-disabled")


async def test_two_gateways_turn_it_off_in_unleash_once(unleash: RunningUnleash, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    asked, where, name = made(unleash, "guarded-twice"), flags(unleash), "guarded-twice"
    async with (
        running(tmp_path, where=where, flag=name, unleash=asked) as world,
        running(tmp_path / "other", where=where, flag=name, unleash=asked) as other,
        asking(world),
        asking(other),
    ):
        await world.state("healthy")
        await other.state("healthy")
        world.candidate.status = other.candidate.status = "500 Oh"
        await is_off(world)
        await is_off(other)
        assert switched_off(unleash, name) == 1
        trips = [trip for each in (world, other) for trip in each.guard()["trips"]]
        assert "switched-off" in {trip["outcome"] for trip in trips}
        assert {trip["outcome"] for trip in trips} <= {"switched-off", "already-off"}
        recorded = [change for each in (world, other) for change in changes(each) if not change[0]]
        assert ("banyan guard" in {by for _, by, _ in recorded}, len(recorded)) == (True, 2)
        with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
            assert [state.rollout for state in admin.list() if state.name == name] == [100]  # its strategy stays for the next time


async def test_with_unleash_away_legacy_answers_at_once_and_it_is_tried_until_it_is_off(unleash: RunningUnleash, tmp_path: Path) -> None:
    name = "guarded-away"
    asked = made(unleash, name)
    with between(unleash) as (line, url):
        async with running(tmp_path, where=flags(unleash, url), flag=name, unleash=asked) as world, asking(world):
            await world.state("healthy")
            line.cut()
            world.candidate.status = "500 Oh"
            await until(lambda: name in world.gateway.get("/flags")["overrides"])
            override = world.gateway.get("/flags")["overrides"][name]
            assert (override["enabled"], override["by"]) == (False, "banyan guard")
            await until(lambda: world.answers.get("200 served-by=legacy; reason=override", 0) > 50)
            assert not [key for key in world.answers if not key.startswith("200")]
            assert asked()
            (trip,) = world.guard()["trips"]
            assert (trip["outcome"], trip["overridden"]) == ("pending", True)
            line.mend()
            await is_off(world)
            await until(lambda: not world.gateway.get("/flags")["overrides"])
            (trip,) = world.guard()["trips"]
            assert (trip["outcome"], trip["error"], switched_off(unleash, name)) == ("switched-off", "", 1)


class Line:
    """A TCP proxy that can be cut."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="line")]
        self._threads[0].start()

    def cut(self) -> None:
        self._open = False
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            server = socket.create_connection(self._place)
            for each, other in ((client, server), (server, client)):
                self._sockets.add(each)
                thread = threading.Thread(target=self._pass, args=(each, other), name="line")
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.discard(source)
        source.close()


@contextmanager
def between(unleash: RunningUnleash) -> Iterator[tuple[Line, str]]:
    """A line to Unleash, and its API at the line's own end."""
    parts = urlsplit(unleash.api_url)
    assert parts.hostname
    assert parts.port
    line = Line((parts.hostname, parts.port))
    try:
        yield line, f"http://127.0.0.1:{line.port}{parts.path}"
    finally:
        line.close()
