"""The Unleash source against a server that misbehaves in every way. The real one: tests/integration/test_unleash_real.py."""

# ruff: noqa: ASYNC240, ASYNC110 - the files are local and tiny, and what is published has no event to wait for
from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from yggdrasil_engine.engine import UnleashEngine

from flags import unleash, usage
from flags.decisions import Decisions
from flags.file import FileSource
from flags.snapshot import Context, Snapshot
from flags.source import FlagSourceError, create
from flags.unleash import UnleashSource

ON = b'{"version":2,"features":[{"name":"f","enabled":true,"strategies":[]}]}'
OFF = b'{"version":2,"features":[{"name":"f","enabled":false,"strategies":[]}]}'
TOKEN = "default:development.an-entirely-secret-token"


class FakeUnleash(ThreadingHTTPServer):
    """Answers registrations and polls as `mode` says, and usage too unless `usage_mode` says otherwise."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = "ok"
        self.usage_mode = ""
        self.refuse_registration = False
        self.forgetful = 0.0
        """For how long after a flag was first served its usage is dropped with 202, as the real one's list of flags may have it."""
        self.features = ON
        self.served: dict[str, float] = {}
        self.polls: list[int] = []
        self.registered: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.authorization: set[str | None] = set()
        self.hold = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-unleash")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"

    def stop(self) -> None:
        self.hold.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is what some of the tests are about."""

    async def polled(self, times: int) -> None:
        """Waits until it has answered that many more polls."""
        before = len(self.polls)
        async with asyncio.timeout(8):
            while len(self.polls) < before + times:
                await asyncio.sleep(0.01)

    def counted(self, name: str) -> tuple[int, int]:
        toggles = [metrics["bucket"]["toggles"][name] for metrics in self.metrics if name in metrics["bucket"]["toggles"]]
        return sum(t["yes"] for t in toggles), sum(t["no"] for t in toggles)

    def take(self, metrics: dict[str, Any]) -> None:
        toggles = metrics["bucket"]["toggles"]
        for name in list(toggles):
            if time.monotonic() - self.served.get(name, 0.0) < self.forgetful:
                del toggles[name]
        self.metrics.append(metrics)


class _Handler(BaseHTTPRequestHandler):
    server: FakeUnleash

    def do_GET(self) -> None:
        self.server.authorization.add(self.headers["Authorization"])
        mode = self.server.mode
        if mode == "hang":
            self.server.hold.wait(10)
            return
        if mode == "html":
            self._answer(200, b"<!doctype html><title>Sign in</title>", "text/html", etag='"html"')
        elif mode == "refused-features":
            self._answer(200, b'{"version":2,"features":[{"name":"f","enabled":"yes","strategies":[]}]}', etag='"bad"')
        elif mode == "always-304":
            self._answer(304, b"")
        elif mode != "ok":
            self._answer(int(mode), b'{"name":"Error"}')
        else:
            for feature in json.loads(self.server.features)["features"]:
                self.server.served.setdefault(feature["name"], time.monotonic())
            etag = f'"{hash(self.server.features)}"'
            if self.headers["If-None-Match"] == etag:
                self._answer(304, b"", etag=etag)
            else:
                self._answer(200, self.server.features, etag=etag)

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = server.mode
        if self.path.endswith("/metrics"):
            mode = server.usage_mode or mode
            if mode in {"ok", "late"}:
                server.take(body)
            else:
                server.refused.append(body)
        else:
            server.registered.append(body)
            if server.refuse_registration:
                mode = "503"
        if mode == "cut":
            self.close_connection = True
        elif mode == "late":
            server.hold.wait(10)
        elif mode == "302":
            self._answer(302, b"")
        else:
            self._answer(202 if mode == "ok" else 503, b"")

    def _answer(self, status: int, body: bytes, kind: str = "application/json", etag: str | None = None) -> None:
        if self.command == "GET":
            self.server.polls.append(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Silent."""


class Seen(list[Snapshot]):
    """What was published; `until` waits for a state."""

    async def until(self, wanted: Callable[[Snapshot], bool], within: float = 8.0) -> None:
        async with asyncio.timeout(within):
            while not (self and wanted(self[-1])):
                await asyncio.sleep(0.005)


def on(snapshot: Snapshot) -> bool:
    return Decisions.build(snapshot).enabled("f", Context())


@pytest.fixture
def server() -> Iterator[FakeUnleash]:
    fake = FakeUnleash()
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unleash, "REQUEST_TIMEOUT", 0.5)
    monkeypatch.setattr(unleash, "FIRST_ANSWER", 0.3)
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(usage, "TIMEOUT", (0.5, 0.5))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "var" / "flags-backup.json"


@asynccontextmanager
async def started(source: UnleashSource, seen: Seen) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(seen.append), name="source")
    try:
        await seen.until(lambda snapshot: True)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def running(url: str, backup: Path | None = None, **more: Any) -> AsyncIterator[tuple[UnleashSource, Seen]]:
    seen = Seen()
    source = UnleashSource(url, TOKEN, refresh=0.1, backup=backup, **more)
    async with started(source, seen):
        yield source, seen


async def test_a_change_is_published_and_an_unchanged_state_is_not(server: FakeUnleash, backup: Path) -> None:
    async with running(server.url, backup) as (source, seen):
        await seen.until(on)
        assert (seen[-1].source, seen[-1].error) == ("unleash", "")
        await asyncio.sleep(0.5)
        assert len(seen) == 1
        assert source.staleness() < 1.0
        assert server.polls.count(200) == 1
        assert server.polls.count(304) >= 2
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))
        assert len(seen) == 2
    assert server.authorization == {TOKEN}
    assert backup.read_bytes() == OFF
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    (registration,) = server.registered
    assert registration["appName"] == "banyan"


async def test_the_engine_is_loaded_once_a_state(server: FakeUnleash, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    take_state = UnleashEngine.take_state

    def load(engine: UnleashEngine, state: str) -> object:
        if engine is sdk:  # there are others: whoever decides or checks has one of its own
            loads.append(state)
        return take_state(engine, state)

    seen = Seen()
    source = UnleashSource(server.url, TOKEN, refresh=0.1)
    sdk = source._client._engine
    monkeypatch.setattr(UnleashEngine, "take_state", load)
    async with started(source, seen):
        await seen.until(on)
        await server.polled(4)
        assert loads == [ON.decode()]
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))
        await server.polled(2)  # what a poll brought is loaded after it is published, and before the next poll
        assert loads == [ON.decode(), OFF.decode()]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("401", "answered 401: flags.token is not valid there"),
        ("403", "answered 403: .*client .backend. token"),
        ("404", "answered 404: .*ends with /api"),
        ("302", "answered 302"),
        ("500", "answered 500"),
        ("503", "answered 503"),
        ("html", "something other than flags .*not JSON"),
        ("refused-features", "something other than flags .*flag 'f'"),
        ("hang", "did not answer in time"),
    ],
)
async def test_trouble_keeps_the_last_good_state(server: FakeUnleash, mode: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(server.url) as (source, seen):
        await seen.until(on)
        server.mode = mode
        await seen.until(lambda snapshot: bool(snapshot.error))
        assert on(seen[-1])
        assert seen[-1].source == "unleash"
        assert re.search(says, seen[-1].error)
        if mode != "hang":
            await server.polled(4)  # the fourth is asked for after the third was dealt with
        assert len(seen) == 2
        stale = source.staleness()
        assert stale > 0.1
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, [record.getMessage() for record in warnings]
        assert "last good flags stay" in warnings[0].getMessage()
        server.features = OFF
        server.mode = "ok"
        server.hold.set()
        await seen.until(lambda snapshot: not snapshot.error and not on(snapshot))
        assert source.staleness() < 1.0
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_recovery_without_a_change_clears_the_error(server: FakeUnleash) -> None:
    async with running(server.url) as (_, seen):
        await seen.until(on)
        server.mode = "500"
        await seen.until(lambda snapshot: bool(snapshot.error))
        server.mode = "ok"
        await seen.until(lambda snapshot: not snapshot.error)
        assert seen[-1].revision == seen[0].revision
        assert server.polls.count(200) == 1


@pytest.mark.parametrize("mode", ["hang", "500", "html", "always-304"])
async def test_down_at_the_start_the_backup_is_in_force(
    server: FakeUnleash, backup: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    backup.parent.mkdir()
    backup.write_bytes(ON)
    server.mode = mode
    server.features = OFF
    started = time.monotonic()
    async with running(server.url, backup) as (_, seen):
        assert time.monotonic() - started < 1.5
        assert on(seen[0])
        assert seen[0].source == "backup"
        assert seen[0].error
        assert str(backup) in caplog.text
        server.mode = "ok"
        server.hold.set()
        await seen.until(lambda snapshot: snapshot.source == "unleash")
        assert not on(seen[-1])
        assert not seen[-1].error


@pytest.mark.parametrize("content", [None, b"{broken"])
async def test_down_at_the_start_without_a_backup_everything_is_off(
    server: FakeUnleash, backup: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        backup.parent.mkdir()
        backup.write_bytes(content)
    server.mode = "500"
    async with running(server.url, backup) as (_, seen):
        assert seen[0].source == "none"
        assert not on(seen[0])
        await asyncio.sleep(0.3)
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, warnings
        assert "legacy answers everything" in warnings[0]
        server.mode = "ok"
        await seen.until(on)
        assert seen[-1].source == "unleash"


async def test_nobody_listens() -> None:
    with socket.socket() as bound:  # bound, not listening: a connection is refused, and nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/api"
        async with running(url) as (_, seen):
            assert seen[0].source == "none"
            assert seen[0].error.startswith(f"Unleash at {url} can't be reached: Connection refused")


async def test_usage_is_counted_exactly_and_kept_while_unleash_is_down(server: FakeUnleash) -> None:
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "g": (0, 7)})
        await arrived(server, "f", (3, 2))
        server.mode = "500"
        await seen.until(lambda snapshot: bool(snapshot.error))
        source.report({"f": (10, 0)})
        source.report({"f": (1, 1)})
        await server.polled(3)
        assert len(server.metrics) == 1
        server.mode = "ok"
        await arrived(server, "f", (14, 3))
        server.usage_mode = "503"
        source.report({"f": (0, 4)})
        await refusals(server, 1)
        server.usage_mode = ""
    # Closing sent what was left.
    assert server.counted("f") == (14, 7)
    assert server.counted("g") == (0, 7)
    assert len(server.metrics) == 3
    (one,) = {(metrics["appName"], metrics["instanceId"]) for metrics in (*server.metrics, *server.refused)}
    assert one == (server.registered[0]["appName"], server.registered[0]["instanceId"])


@pytest.mark.parametrize(("mode", "says"), [("503", "answered 503"), ("302", "answered 302"), ("cut", "can't be reached")])
async def test_usage_that_was_not_taken_is_added_to_the_next_report(
    server: FakeUnleash, mode: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.usage_mode = mode
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "g": (1, 0)})
        await refusals(server, 3)
        source.report({"f": (1, 1)})
        server.usage_mode = ""
        await arrived(server, "f", (4, 3))
        assert server.counted("g") == (1, 0)
        source.report({"h": (1, 0)})
        await arrived(server, "h", (1, 0))
        assert not seen[-1].error
    assert (server.counted("f"), server.counted("g")) == ((4, 3), (1, 0))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert f"does not take usage ({says}" in warnings[0]


async def test_usage_that_the_end_cannot_report_is_said(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.usage_mode = "503"
    async with running(server.url, metrics_interval=30) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2)})
    assert len(server.refused) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["flags: Unleash did not take the last usage (answered 503): it is not counted there"]


async def test_usage_that_was_taken_without_a_word_is_not_sent_again(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.usage_mode = "late"
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2)})
        async with asyncio.timeout(8):
            while "did not say in time" not in caplog.text:
                await asyncio.sleep(0.01)
        server.usage_mode = ""
        source.report({"h": (1, 0)})
        await arrived(server, "h", (1, 0))
    assert server.counted("f") == (3, 2)


async def test_usage_of_a_new_flag_waits_until_unleash_counts_it(server: FakeUnleash, monkeypatch: pytest.MonkeyPatch) -> None:
    server.forgetful = 1.0
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 1.0)
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "nowhere": (0, 1)})
        await arrived(server, "nowhere", (0, 1))  # of what is no flag there is nothing to wait for
        await arrived(server, "f", (3, 2))
        server.features = ON.replace(b'"features":[', b'"features":[{"name":"new","enabled":true,"strategies":[]},')
        await seen.until(lambda snapshot: b'"new"' in snapshot.features)
        source.report({"f": (1, 0), "new": (5, 0)})
        await arrived(server, "f", (4, 2))
        source.report({"new": (1, 1)})
        await arrived(server, "new", (6, 1))


async def arrived(server: FakeUnleash, name: str, counts: tuple[int, int]) -> None:
    async with asyncio.timeout(8):
        while server.counted(name) != counts:
            await asyncio.sleep(0.01)


async def refusals(server: FakeUnleash, number: int) -> None:
    async with asyncio.timeout(8):
        while len(server.refused) < number:
            await asyncio.sleep(0.01)


async def test_a_refused_registration_is_said(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.refuse_registration = True
    async with running(server.url) as (_, seen):
        await seen.until(on)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["flags: Unleash answers, but did not register this gateway (answered 503)"]


async def test_refresh_looks_now(server: FakeUnleash) -> None:
    seen = Seen()
    source = UnleashSource(server.url, TOKEN, refresh=30)
    task = asyncio.create_task(source.run(seen.append), name="source")
    await seen.until(on)
    while not source._client.is_initialized:
        await asyncio.sleep(0.01)
    server.features = OFF
    await source.refresh()
    assert not on(seen[-1])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_netrc_never_replaces_the_token(server: FakeUnleash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with running(server.url) as (_, seen):
        await seen.until(on)
    assert server.authorization == {TOKEN}


@pytest.mark.parametrize(
    ("url", "token", "says"),
    [
        ("", TOKEN, "flags.url"),
        ("unleash:4242/api", TOKEN, "flags.url"),
        ("ftp://unleash/api", TOKEN, "flags.url"),
        ("http://admin:secret@unleash/api", TOKEN, "flags.url"),
        ("http://unleash:secret/api", TOKEN, "flags.url"),
        ("http://unleash:0/api", TOKEN, "flags.url"),
        ("http://[secret/api", TOKEN, "flags.url"),
        ("http://un leash/api", TOKEN, "flags.url"),
        ("http://unleash/api\n", TOKEN, "flags.url"),
        ("http://unleash/api?token=secret", TOKEN, "flags.url"),
        ("http://unleash/api", "", "flags.token"),
        ("http://unleash/api", "secret\n", "flags.token"),
        ("http://unleash/api", "a secret", "flags.token"),
    ],
)
def test_unusable_settings_are_one_clear_error_without_the_secret(url: str, token: str, says: str) -> None:
    with pytest.raises(FlagSourceError, match=says) as caught:
        create(source="unleash", url=url, token=token)
    assert "secret" not in str(caught.value)


def test_create_and_close_without_running(tmp_path: Path) -> None:
    source = create(source="unleash", url="http://127.0.0.1:9/api", token=TOKEN, backup="backup.json", folder=tmp_path)
    assert isinstance(source, UnleashSource)
    assert source._backup == tmp_path / "backup.json"
    source.close()
    source.close()
    assert isinstance(create(source="file"), FileSource)
