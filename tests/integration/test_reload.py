"""banyan.toml read anew while the gateway serves: on SIGHUP, on a change of the file, by POST /reload. Nobody who is served notices."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.processes import ROOT, python
from gateway.cli.run import ENGINES
from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway

RELOADS = int(os.environ.get("BANYAN_RELOADS", "25"))
"""`make soak` is the whole run: 100."""

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n"
ROUTE = '[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\n'


@dataclass
class World:
    """A gateway whose file the test rewrites."""

    gateway: Gateway
    legacy: Upstream
    new: Upstream

    @property
    def file(self) -> Path:
        return self.gateway.folder / "banyan.toml"

    def toml(self, *, gateway: str = "", rest: str = ROUTE, legacy: int = 0, new: int = 0) -> str:
        head = re.match(r"(?s)\[gateway\]\nlisten = .*?\nadmin = .*?\nworkers = \d+\n", self.file.read_text())
        assert head
        return (
            f'{head[0]}expose_decision = true\naccess_log = "access.log"\n{gateway}\n[upstreams]\n'
            f'legacy = "http://127.0.0.1:{legacy or self.legacy.port}"\nnew = "http://127.0.0.1:{new or self.new.port}"\n{rest}'
        )

    def write(self, text: str) -> None:
        """As a careful editor does: whole, by a rename."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    async def post(self, path: str, **headers: str) -> tuple[int, Any]:
        """A POST to the admin port."""

        def ask() -> tuple[int, Any]:
            request = urllib.request.Request(f"http://127.0.0.1:{self.gateway.admin}{path}", method="POST", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - our own gateway
                    return response.status, json.loads(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read())

        return await asyncio.to_thread(ask)

    async def reload(self, text: str) -> None:
        """The file with `text`, in force in every worker."""
        self.write(text)
        status, answer = await self.post("/reload")
        assert (status, answer["status"]) == (200, "ok"), answer

    async def view(self, until: Callable[[Any], bool] = lambda view: True) -> Any:
        """GET /config, as soon as `until` is true of it."""
        for _ in range(200):
            found = await asyncio.to_thread(self.gateway.get, "/config")
            if until(found):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not come to that: {found}")

    def metric(self, name: str) -> float:
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", self.gateway.metrics())
        assert found, name
        return float(found[1])


@asynccontextmanager
async def served(folder: Path, *, workers: int = 1, engine: str = "edge", rest: str = ROUTE, **flags: bool | int) -> AsyncIterator[World]:
    async def who(exchange: Exchange) -> None:
        await exchange.answer(b"legacy")

    async def other(exchange: Exchange) -> None:
        await exchange.answer(b"new")

    legacy, new = Upstream(who), Upstream(other)
    await legacy.start()
    await new.start()
    toml = (
        f'[gateway]\nexpose_decision = true\naccess_log = "access.log"\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
        f'new = "http://127.0.0.1:{new.port}"\n{rest}'
    )
    try:
        async with gateway(folder, toml, workers=workers, engine=engine, **flags) as running:
            yield World(running, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, str]]:
    """Of all whose file is refused; with the file that it began with."""
    async with served(tmp_path_factory.mktemp("refusing"), reviews=True) as world:
        yield world, world.file.read_text()


@pytest_asyncio.fixture(loop_scope="module")
async def well(refusing: tuple[World, str]) -> World:
    """Its file is the first again."""
    world, text = refusing
    await world.reload(text)
    return world


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "check", "--config", str(file))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def written(log: Path) -> list[str]:
    """The targets in an access log."""
    return [json.loads(line)["target"] for line in log.read_text().splitlines()] if log.exists() else []


async def where(client: Client, path: str = "/reviews/3") -> str:
    """Who answers, according to the gateway."""
    answer = await client.request(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.status == 200
    return f"{answer.body.decode()} {answer.header('Banyan-Route')}"


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_kept_connection_is_decided_anew(tmp_path: Path, engine: str) -> None:
    """Routes changed, removed, added; an upstream moved; limits and trust changed: all on one connection that stays open."""
    async with served(tmp_path, engine=engine, reviews=True, items=True) as world:
        client = await world.gateway.connect()
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"

        await world.reload(world.toml(rest=ROUTE.replace("/reviews/*", "/elsewhere/*")))
        assert await where(client) == "legacy -; served-by=legacy; reason=unrouted"
        assert await where(client, "/elsewhere/1") == "new reviews; served-by=candidate; reason=flag"

        await world.reload(world.toml(rest=""))
        assert await where(client, "/elsewhere/1") == "legacy -; served-by=legacy; reason=unrouted"

        await world.reload(world.toml(rest=ROUTE + ROUTE.replace("reviews", "items") + 'rewrite = "/v2/*"\n'))
        assert await where(client, "/items/1") == "new items; served-by=candidate; reason=flag"
        assert world.new.requests[-1].line == b"GET /v2/1 HTTP/1.1"
        assert [route["name"] for route in (await asyncio.to_thread(world.gateway.get, "/routes"))["routes"]] == ["reviews", "items"]

        async def moved(exchange: Exchange) -> None:
            await exchange.answer(b"moved")

        moved_to = Upstream(moved)
        await moved_to.start()
        try:
            await world.reload(world.toml(legacy=moved_to.port, new=moved_to.port))
            assert await where(client) == "moved reviews; served-by=candidate; reason=flag"
            assert await where(client, "/x") == "moved -; served-by=legacy; reason=unrouted"
        finally:
            await moved_to.stop()

        await world.reload(world.toml(gateway='trusted_proxies = ["127.0.0.0/8"]'))
        await client.request(b"GET /reviews/3 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
        assert world.new.requests[-1].header("X-Forwarded-For")[0].startswith("192.0.2.7")
        await world.reload(world.toml())
        await client.request(b"GET /reviews/3 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
        assert world.new.requests[-1].header("X-Forwarded-For") == ["127.0.0.1"]

        post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
        assert (await client.request(post)).status == 200
        await world.reload(world.toml(gateway='limits = { body_bytes = "1KiB", header_bytes = "1KiB" }'))
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"
        long = await world.gateway.connect()
        assert (await long.request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n")).status in (414, 431)
        assert (await client.request(post)).status == 413
        assert world.metric('banyan_config_reloads_total{result="ok"}') >= 7.0


async def test_idle_and_header_timeouts_of_open_connections_change(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        idle, begun = await world.gateway.connect(), await world.gateway.connect()
        assert (await idle.request(GET)).status == 200
        await begun.send(b"GET / HTTP/1.1\r\n")
        await world.reload(world.toml(gateway='limits = { idle_timeout = "300ms", header_timeout = "300ms" }'))
        assert await idle.rest() == b""
        assert (await begun.response()).status == 408


async def test_mitmproxys_idle_timeout_changes_for_new_connections(tmp_path: Path) -> None:
    """docs/reference/engines.md: open ones keep theirs."""
    async with served(tmp_path, engine="mitmproxy") as world:
        open_before = await world.gateway.connect()
        assert (await open_before.request(GET)).status == 200
        text = world.toml(gateway='limits = { idle_timeout = "1s" }')
        await world.reload(re.sub(r'(?m)^(legacy|new) = (".*")$', r'\1 = { url = \2, response_timeout = "100ms" }', text))
        opened_after = await world.gateway.connect()
        assert (await opened_after.request(GET)).status == 200
        assert await opened_after.rest() == b"", "closed when it had been idle"
        assert (await open_before.request(GET)).status == 200


async def test_what_the_engine_cannot_carry_out_is_refused_as_at_start(tmp_path: Path) -> None:
    async with served(tmp_path, engine="mitmproxy") as world:
        world.write(world.toml(gateway="proxy_protocol = true"))
        status, problem = await world.post("/reload")
        assert status == 422
        assert problem["detail"] == f"{world.file}: gateway.proxy_protocol: the mitmproxy engine does not read it; run the edge engine"


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_request_in_flight_ends_under_its_own_configuration(tmp_path: Path, engine: str) -> None:
    """It was on its way to an upstream that the new file does not know any more; its deadline and the way back are the old file's too."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        arrived.set()
        await go_on.wait()
        await exchange.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    async with served(tmp_path, engine=engine, reviews=True) as world:
        world.new.handler = slow
        client = await world.gateway.connect()
        answer = asyncio.create_task(client.request(GET))
        await arrived.wait()
        await world.reload(world.toml(legacy=1, new=1, rest=""))
        go_on.set()
        # The candidate fails: legacy's old address answers in its place, as the old file's route says.
        found = await answer
        assert (found.status, found.body) == (200, b"legacy")
        assert found.header("Banyan-Route") == "reviews; served-by=legacy; reason=fallback-status-503"
        # Nothing is left of the old: an unused connection to an upstream that is not configured any more is closed.
        assert (await client.request(GET)).status == 502
        for _ in range(100):
            if not world.legacy.open and not world.new.open:
                break
            await asyncio.sleep(0.05)
        assert not world.legacy.open
        assert not world.new.open


async def test_idle_connections_to_unchanged_upstreams_are_carried_over(tmp_path: Path) -> None:
    async with served(tmp_path, reviews=True) as world:
        client = await world.gateway.connect()
        for _ in range(3):
            assert (await where(client)).startswith("new ")
            await world.reload(world.toml(rest=ROUTE + f"fallback = {'true' if _ % 2 else 'false'}\n"))
        assert world.new.connections == 1


BAD = {
    "not TOML": ("[gateway\n", "is not TOML"),
    "unknown key": ("fallbck = true\n", "routes[0].fallbck (route 'reviews'): unknown key"),
    "two mistakes": ("fallbck = true\nmethods = ['get']\n", "methods are upper-case tokens"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("mistake", list(BAD))
async def test_a_bad_file_changes_nothing_and_says_what_check_says(well: World, mistake: str) -> None:
    addition, said = BAD[mistake]
    world, failures = well, 'banyan_config_reloads_total{result="failed"}'
    before = world.metric(failures) if failures in world.gateway.metrics() else 0.0
    logged = len(world.gateway.process.log.read_text())
    client = await world.gateway.connect()
    world.write(world.toml() + addition)
    status, problem = await world.post("/reload")
    assert status == 422
    assert problem["type"] == "urn:banyan:problem:configuration"
    assert said in problem["detail"]
    ended = await asyncio.to_thread(check, world.file)
    assert ended.stderr == f"banyan: {problem['detail']}\n"
    assert await where(client) == "new reviews; served-by=candidate; reason=flag"
    assert (await asyncio.to_thread(world.gateway.get, "/readyz"))["status"] == "ready"
    view = await world.view()
    assert (view["last_reload"]["ok"], view["last_reload"]["error"]) == (False, problem["detail"])
    assert world.metric(failures) >= before + 1.0
    assert world.metric("banyan_config_last_reload_successful") == 0.0
    loaded_at = world.metric("banyan_config_last_reload_success_timestamp_seconds")
    log = [line for line in world.gateway.process.log.read_text()[logged:].splitlines() if "POST /reload" in line]
    assert len(log) == 1, log
    assert "the old configuration serves on" in log[0]
    assert said in log[0]

    await world.reload(world.toml(rest=""))
    assert await where(client) == "legacy -; served-by=legacy; reason=unrouted"
    assert world.metric("banyan_config_last_reload_successful") == 1.0
    assert world.metric("banyan_config_last_reload_success_timestamp_seconds") > loaded_at
    assert (await world.view())["last_reload"]["error"] == ""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("workers = 1", "workers = 2", "gateway.workers"),
        ('listen = ["127.0.0.1:0"]', 'listen = ["127.0.0.1:0", "127.0.0.1:0"]', "gateway.listen"),
        ('admin = "127.0.0.1:0"', 'admin = "[::1]:0"', "gateway.admin"),
        ("[[routes]]", '[flags]\npath = "other.json"\n[[routes]]', "flags.path"),
        ("[[routes]]", '[flags]\nsource = "unleash"\nurl = "http://127.0.0.1:1/api"\ntoken = "secret"\n[[routes]]', "flags.source"),
        ("[[routes]]", '[shadow]\ndatabase = "sqlite:///other.sqlite3"\n[[routes]]', "shadow.database"),
    ],
)
async def test_what_needs_a_restart_is_refused_by_name(well: World, old: str, new: str, key: str) -> None:
    text = well.toml(gateway="replay_buffer = '1KiB'")
    well.write(text.replace(old, new, 1))
    status, problem = await well.post("/reload")
    assert status == 422
    assert f"{well.file}: {key}: a reload cannot change it; restart the gateway, or put the old value back" in problem["detail"]
    assert "secret" not in problem["detail"]
    view = await well.view()
    assert view["config"]["gateway"]["replay_buffer"] == 64 * 1024, "nothing of a refused file is in force"


async def test_an_access_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        os.mkfifo(tmp_path / "nobody-reads")
        for name, why in (("missing/access.log", "No such file or directory"), ("nobody-reads", "No such device or address")):
            world.write(world.toml().replace("access.log", name))
            status, problem = await world.post("/reload")
            assert status == 422
            assert problem["detail"] == f"{world.file}: gateway.access_log: {tmp_path / name}: {why}. Name another file"
        assert (await world.gateway.request(GET)).status == 200


async def test_sighup_and_changes_of_the_file(tmp_path: Path) -> None:
    async with served(tmp_path, reviews=True) as world:
        client = await world.gateway.connect()
        before = (await world.view())["number"]
        # Nothing has changed, but whoever sends SIGHUP after rotating a log wants it reopened.
        os.kill(world.gateway.process.pid, signal.SIGHUP)
        view = await world.view(lambda view: view["reloads"]["ok"] == 1)
        assert (view["last_reload"]["why"], view["last_reload"]["ok"]) == ("SIGHUP", True)
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"

        world.write(world.toml(rest=""))  # an atomic rename
        view = await world.view(lambda view: view["reloads"]["ok"] == 2)
        assert view["last_reload"]["why"] == "file"
        assert await where(client) == "legacy -; served-by=legacy; reason=unrouted"

        world.file.write_text(world.toml())  # in place
        await world.view(lambda view: view["reloads"]["ok"] == 3)
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"

        world.file.touch()  # another time, the same text
        await asyncio.sleep(1.0)
        assert (await world.view())["number"] == before + 3

        good = world.toml(rest="")
        world.file.unlink()
        view = await world.view(lambda view: not view["last_reload"]["ok"])
        assert "cannot be read (No such file or directory)" in view["last_reload"]["error"]
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"
        world.file.write_text(good)
        await world.view(lambda view: view["reloads"]["ok"] == 4)
        assert (await world.view())["reloads"] == {"ok": 4, "failed": 1}


async def test_a_configmap_whose_links_are_swapped(tmp_path: Path) -> None:
    """As the kubelet does it: banyan.toml → ..data/banyan.toml, ..data → a folder of this version; the swap renames a link over ..data."""
    async with served(tmp_path, reviews=True) as world:
        client = await world.gateway.connect()

        def publish(version: str, text: str) -> None:
            (tmp_path / version).mkdir()
            (tmp_path / version / "banyan.toml").write_text(text)
            (tmp_path / "..tmp").symlink_to(version)
            (tmp_path / "..tmp").rename(tmp_path / "..data")

        first, second = world.toml(), world.toml(rest="")
        publish("..v1", first)
        (tmp_path / "link").symlink_to("..data/banyan.toml")
        (tmp_path / "link").rename(world.file)
        await world.view(lambda view: view["number"] == 1)
        publish("..v2", second)
        await world.view(lambda view: view["number"] == 2)
        assert await where(client) == "legacy -; served-by=legacy; reason=unrouted"
        publish("..v3", second + "nonsense = 1\n")
        assert "nonsense" in (await world.view(lambda view: view["reloads"]["failed"] == 1))["last_reload"]["error"]
        publish("..v4", first)
        await world.view(lambda view: view["number"] == 3)
        assert await where(client) == "new reviews; served-by=candidate; reason=flag"
        # Relative paths are still the folder's in which the file is named, not those of where the link leads.
        assert (tmp_path / "access.log").exists()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_the_access_log_is_reopened(tmp_path: Path, engine: str) -> None:
    async with served(tmp_path, engine=engine, workers=2 if engine == "edge" else 1) as world:
        log, old = tmp_path / "access.log", tmp_path / "access.log.1"

        async def lines(path: Path, count: int) -> None:
            for _ in range(100):
                if len(written(path)) >= count:
                    break
                await asyncio.sleep(0.05)
            assert written(path) == ["/reviews/3"] * count

        await asyncio.gather(*(world.gateway.request(GET) for _ in range(10)))
        await lines(log, 10)
        log.rename(old)
        os.kill(world.gateway.process.pid, signal.SIGHUP)
        await world.view(lambda view: view["number"] == 1)
        for _ in range(100):
            if log.exists():
                break
            await asyncio.sleep(0.05)
        assert log.stat().st_mode & 0o777 == 0o600
        await asyncio.sleep(0.5)  # each worker's thread has gone over
        await asyncio.gather(*(world.gateway.request(GET) for _ in range(10)))
        await lines(log, 10)
        await lines(old, 10)

        # To another place, to nowhere, and back.
        await world.reload(world.toml().replace("access.log", "other.log"))
        await asyncio.sleep(0.5)
        await world.gateway.request(GET)
        await lines(tmp_path / "other.log", 1)
        await world.reload(world.toml().replace("access.log", ""))
        await asyncio.sleep(0.5)
        await world.gateway.request(GET)
        await world.reload(world.toml())
        await asyncio.sleep(0.5)
        await world.gateway.request(GET)
        await lines(log, 11)
        await lines(tmp_path / "other.log", 1)
        assert "access-log-dropped" not in world.gateway.metrics()


async def test_a_log_that_is_full_costs_lines_which_are_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        await world.reload(world.toml().replace('"access.log"', '"/dev/full"'))
        await asyncio.sleep(0.5)
        for _ in range(3):
            assert (await world.gateway.request(GET)).status == 200
        for _ in range(100):
            if 'banyan_events_total{event="access-log-dropped"} 3.0' in world.gateway.metrics():
                break
            await asyncio.sleep(0.05)
        assert world.metric('banyan_events_total{event="access-log-dropped"}') == 3.0


async def test_a_worker_that_dies_comes_back_with_the_newest_configuration(tmp_path: Path) -> None:
    async with served(tmp_path, reviews=True) as world:
        await world.reload(world.toml(rest=""))
        world.file.write_text("broken")  # and not with what lies there
        await world.view(lambda view: view["reloads"]["failed"] == 1)
        (first,) = world.gateway.workers()
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        assert await where(await world.gateway.connect()) == "legacy -; served-by=legacy; reason=unrouted"
        assert time.monotonic() - began < 10
        assert world.metric('banyan_worker_config_current{worker="0"}') == 1.0


async def test_drain_leaves_the_process_to_be_ended_by_others(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        client = await world.gateway.connect()
        assert (await client.request(GET)).header("Connection") is None
        status, answer = await world.post("/drain")
        assert (status, answer["status"]) == (200, "draining")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await asyncio.to_thread(world.gateway.get, "/readyz")
        # Who comes is still served, and told to go elsewhere.
        assert (await client.request(GET)).header("Connection") == "close"
        assert (await world.gateway.request(GET)).header("Connection") == "close"
        assert (await asyncio.to_thread(world.gateway.get, "/healthz"))["status"] == "alive"
        # It outlives a reload and a worker.
        await world.reload(world.toml(rest=""))
        assert (await world.gateway.request(GET)).header("Connection") == "close"
        (first,) = world.gateway.workers()
        os.kill(first, signal.SIGKILL)
        for _ in range(100):
            if world.gateway.workers() not in ([], [first]):
                break
            await asyncio.sleep(0.05)
        answers = [await world.gateway.request(GET) for _ in range(2)]
        assert {each.status for each in answers} == {200}
        assert answers[-1].header("Connection") == "close"
        os.kill(world.gateway.process.pid, signal.SIGTERM)
        assert await asyncio.to_thread(world.gateway.process.process.wait, 20) == 0


async def test_a_page_in_a_browser_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        for path in ("/drain", "/reload", "/flags/refresh"):
            assert (await world.post(path, Origin="https://evil.example"))[0] == 403
        assert (await world.view())["number"] == 0
        assert (await asyncio.to_thread(world.gateway.get, "/readyz"))["status"] == "ready"


async def events(exchange: Exchange) -> None:
    """An endless stream of numbered events, an endless echo, or an answer."""
    if b"/events" in exchange.line:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        number = 0
        while True:
            event = f"data: {number}\n\n".encode()
            await exchange.send(b"%x\r\n%b\r\n" % (len(event), event))
            number += 1
            await asyncio.sleep(0.05)
    elif b"/socket" in exchange.line:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await exchange.reader.read(65536):
            await exchange.send(data)
        exchange.writer.close()
    else:
        await exchange.answer(exchange.line)


@pytest.mark.timeout(120 + 3 * RELOADS)
@pytest.mark.parametrize("engine", list(ENGINES))
async def test_reloads_under_load(tmp_path: Path, engine: str) -> None:
    """Steady load on kept connections while everything that a reload may change changes, again and again: no request fails, no connection
    is dropped, and the tunnels and event streams that were there before the first are there after the last."""
    reloads = RELOADS if engine == "edge" else min(RELOADS, 10)
    async with served(tmp_path, engine=engine, workers=2, reviews=True, reviews__shadow=True) as world:
        world.legacy.handler = world.new.handler = events
        moved = Upstream(events)
        await moved.start()
        stop = asyncio.Event()
        answered = 0

        async def load(number: int) -> None:
            nonlocal answered
            client = await world.gateway.connect()
            turn = 0
            while not stop.is_set():
                turn += 1
                path = f"/reviews/{number}-{turn}" if turn % 3 else f"/other/{number}-{turn}"
                body = b"x" * 3000 if turn % 5 == 0 else b""
                method = "POST" if body else "GET"
                head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                answer = await client.request(head + body)
                assert (answer.status, answer.body) == (200, f"{method} {path} HTTP/1.1".encode()), answer
                assert answer.header("Connection") is None
                answered += 1

        async def watch() -> int:
            """One event stream: its events come without a gap."""
            client = await world.gateway.connect()
            path = b"/reviews/events" if engine == "edge" else b"/other/events"  # mitmproxy streams what legacy answers
            await client.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"text/event-stream" in await client.reader.readuntil(b"\r\n\r\n")
            expected = 0
            while not stop.is_set():
                async with asyncio.timeout(15):
                    size = int(await client.reader.readuntil(b"\r\n"), 16)
                    chunk = await client.reader.readexactly(size + 2)
                assert chunk.endswith(b"\n\n\r\n"), chunk
                for event in chunk[:-4].split(b"\n\n"):  # several, where they came together
                    assert event == f"data: {expected}".encode()
                    expected += 1
            return expected

        async def talk() -> int:
            """One tunnel: what is said comes back."""
            client = await world.gateway.connect()
            await client.send(b"GET /reviews/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            said = 0
            while not stop.is_set():
                said += 1
                await client.send(b"%08d" % said)
                async with asyncio.timeout(15):
                    assert await client.reader.readexactly(8) == b"%08d" % said
                await asyncio.sleep(0.02)
            return said

        tasks = [asyncio.create_task(load(number)) for number in range(6)]
        watching = [asyncio.create_task(watch()) for _ in range(3)]
        talking = [asyncio.create_task(talk()) for _ in range(3)]
        everything = [*tasks, *watching, *talking]
        await asyncio.sleep(0.5)
        memory: list[int] = []
        try:
            for number in range(reloads):
                text = world.toml(
                    gateway=f'replay_buffer = "{1 + number % 3}KiB"\nlimits = {{ body_bytes = "{10 + number}KiB" }}',
                    rest=(ROUTE if number % 4 else "") + f'[shadow]\nconcurrency = {8 + number % 2}\ntimeout = "{4 + number % 2}s"\n',
                    new=moved.port if number % 2 else 0,
                    legacy=moved.port if number % 5 == 4 else 0,
                )
                text += f'redact = ["cookie", "x-{number}"]\n' if number % 12 == 6 else ""
                if number % 6 == 3:
                    world.write(text + "nonsense = 1\n")
                    assert (await world.post("/reload"))[0] == 422
                before = answered
                await world.reload(text)
                async with asyncio.timeout(20):
                    while answered < before + 12:
                        assert not any(task.done() for task in everything)
                        await asyncio.sleep(0.02)
                memory.append(sum(_resident(pid) for pid in world.gateway.workers()))
        finally:
            stop.set()
            ends = await asyncio.gather(*everything, return_exceptions=True)
            await moved.stop()
        assert [end for end in ends if isinstance(end, BaseException)] == []
        assert world.metric('banyan_config_reloads_total{result="ok"}') >= reloads
        assert (
            world.metric('banyan_child_restarts_total{child="worker"}') == 0.0
            if "child_restarts_total{" in world.gateway.metrics()
            else True
        )
        assert answered > 12 * reloads
        assert memory[-1] - memory[len(memory) // 2] < 30 * 2**20, memory
    log = world.gateway.process.log.read_text()
    assert "Traceback" not in log
    assert "still in flight" not in log


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
