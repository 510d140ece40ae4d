"""`banyan capture` of a real gateway: what is captured, that it is redacted, bounded and told, and that it is replayed."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.processes import python
from recorded import har
from recorded.entry import Entry
from recorded.reading import Recording
from shadow import taps
from shadow.exchange import Answer
from shadow.exchange import Exchange as Shipped
from tests.support.gateway import Exchange, Gateway, Upstream, gateway

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyparsing.*"),  # mitmproxy uses it in its old words
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mitmproxy.*"),
]

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{reviews}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[[routes]]
name = "carts"
match = "/api/v1/carts/*"
candidate = "reviews"
"""
SECRETS = ("hunter2", "sekrit-cookie", "sekrit-token", "ada@shop.test", "4111111111111111", "set-secret")


class World:
    def __init__(self, running: Gateway) -> None:
        self.gateway = running

    def command(self, *options: str) -> list[str]:
        place = [] if "--admin" in options else ["--admin", f"127.0.0.1:{self.gateway.admin}"]
        return python("-m", "gateway.cli", "capture", *place, "--config", str(self.gateway.folder / "banyan.toml"), *options)

    async def begun(self, folder: Path, *options: str) -> subprocess.Popen[str]:
        """A capture that the shipper knows of."""
        process = _begun(self.command(*options), folder)
        assert process.stderr is not None
        line = ""
        while " captured, " not in line:  # the shipper has said how many
            line = await asyncio.to_thread(process.stderr.readline)
            assert line, process.communicate()
        return process

    def socket(self) -> Path:
        """The shipper's, for captures."""
        return Path(self.gateway.get("/capture")["socket"])

    async def ask(self, *targets: str, method: str = "GET", body: str = "") -> None:
        for target in targets:
            raw = (
                f"{method} {target} HTTP/1.1\r\nHost: shop.test\r\nCookie: s=sekrit-cookie\r\nAuthorization: Bearer sekrit-token\r\n"
                f"X-Api-Key: sekrit-token\r\nAccept: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
            assert (await self.gateway.request(raw.encode())).status == 200

    async def ended(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, errors = await asyncio.to_thread(process.communicate, timeout=60)
        assert "Traceback" not in errors
        assert process.returncode in (0, 1), errors
        told: dict[str, Any] = json.loads(out)
        assert (process.returncode == 0) is (told["entries"] > 0)
        return told


def _begun(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def answer(exchange: Exchange) -> None:
    target = exchange.line.split(b" ")[1].decode()
    body = json.dumps({"path": target.partition("?")[0], "password": "hunter2", "email": "ada@shop.test", "card": "4111111111111111"})
    extra = b"Content-Type: application/json\r\nSet-Cookie: s=set-secret; Path=/\r\n"
    if "image" in target:
        await exchange.answer(b"\x89PNG hunter2", extra=b"Content-Type: image/png\r\n")
    else:
        await exchange.answer(body.encode(), extra=extra)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    legacy, reviews = Upstream(answer), Upstream(answer)
    for upstream in (legacy, reviews):
        await upstream.start()
    toml = TOML.format(legacy=legacy.port, reviews=reviews.port)
    async with gateway(tmp_path_factory.mktemp("capture"), toml, reviews__shadow=True) as running:
        yield World(running)
    for upstream in (legacy, reviews):
        await upstream.stop()


@pytest.mark.parametrize("suffix", ["mitm", "har", "jsonl"])
async def test_what_is_captured_is_redacted_and_replays(world: World, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"traffic.{suffix}"
    process = await world.begun(tmp_path, "--to", str(path), "--count", "4", "--json")
    await world.ask("/api/v1/carts/1", "/unrouted")
    await world.ask("/api/v1/reviews/1?email=ada@shop.test", "/api/v1/reviews/2", "/api/v1/reviews/image", "/api/v1/reviews/3")
    told = await world.ended(process)
    assert stat.S_IMODE((await asyncio.to_thread(world.socket)).stat().st_mode) == 0o600
    assert (told["entries"], told["ended"], told["dropped"], told["failed"]) == (4, "count", 0, 0)
    assert told["bytes"] == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = path.read_bytes()
    for secret in SECRETS:
        assert secret.encode() not in data, secret
    with Recording(path) as recording:
        entries = list(recording)
    assert all(isinstance(entry, Entry) for entry in entries)
    found = {entry.target: entry for entry in entries if isinstance(entry, Entry)}
    assert sorted(found)[0].startswith("/api/v1/reviews/1?email=redacted")
    two = found["/api/v1/reviews/2"]
    assert (two.status, two.method) == (200, "GET")
    assert json.loads(two.answer_body or b"")["path"] == "/api/v1/reviews/2"
    assert json.loads(two.answer_body or b"")["password"].startswith("redacted:")
    assert (b"accept", b"application/json") in two.fields
    assert not {b"cookie", b"authorization", b"x-forwarded-for"} & {name.lower() for name, _ in two.fields}
    assert found["/api/v1/reviews/image"].answer_body is None
    replayed = python(
        "-m", "gateway.cli", "replay", str(path), "--config", str(world.gateway.folder / "banyan.toml"), "--json", "--noise", "0"
    )
    replay = json.loads(await asyncio.to_thread(subprocess.check_output, replayed, text=True, timeout=60))
    (route,) = replay["routes"]
    assert (route["compared"], route["matched"], route["skipped"]) == (3, 3, {"redacted": 1})


async def test_limits_and_what_was_not_captured_are_told(world: World, tmp_path: Path) -> None:
    process = await world.begun(tmp_path, "--to", "t.jsonl", "--max-bytes", "3KiB", "--route", "reviews", "--json")
    await world.ask(*(f"/api/v1/reviews/{number}" for number in range(40)))
    told = await world.ended(process)
    assert (told["ended"], told["unwritten"] >= 1) == ("bytes", True)
    assert 0 < told["bytes"] == (tmp_path / "t.jsonl").stat().st_size <= 3 * 1024
    process = await world.begun(tmp_path, "--to", "u.jsonl", "--for", "3s", "--sample", "0.000001", "--json")
    await world.ask(*(f"/api/v1/reviews/{number}" for number in range(10)))
    told = await world.ended(process)
    assert (told["ended"], told["entries"], told["seen"], told["sampled_out"], told["file"]) == ("time", 0, 10, 10, None)
    assert not (tmp_path / "u.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_end_from_outside_leaves_a_whole_file(world: World, tmp_path: Path, number: signal.Signals) -> None:
    process = await world.begun(tmp_path, "--to", "t.har", "--json")
    await world.ask("/api/v1/reviews/1")
    await until(lambda: any(each.stat().st_size > len(har.BEGIN) for each in tmp_path.iterdir()))
    process.send_signal(number)
    told = await world.ended(process)
    assert (told["entries"], told["ended"]) == (1, "Ctrl-C")
    assert names(tmp_path) == ["t.har"]
    assert len(json.loads((tmp_path / "t.har").read_text())["log"]["entries"]) == 1


async def test_a_reload_goes_on_with_the_next_shipper(world: World, tmp_path: Path) -> None:
    config = world.gateway.folder / "banyan.toml"
    before = config.read_text()
    process = await world.begun(tmp_path, "--to", "t.jsonl", "--count", "2", "--json")
    old = await asyncio.to_thread(world.socket)
    await world.ask("/api/v1/reviews/before")
    try:
        config.write_text(before + '[shadow]\nredact = ["authorization", "cookie", "set-cookie", "$..path"]\n')
        world.gateway.process.process.send_signal(signal.SIGHUP)
        await until(lambda: world.socket() != old)
        while process.poll() is None:  # until it has found the next
            await world.ask("/api/v1/reviews/after")
            await asyncio.sleep(0.2)
        told = await world.ended(process)
        assert (told["entries"], told["ended"], told["seen"] >= 2) == (2, "count", True)
        one, two = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
        assert json.loads(one["answer_body"])["path"] == "/api/v1/reviews/before"
        assert json.loads(two["answer_body"])["path"].startswith("redacted:")
    finally:
        config.write_text(before)
        world.gateway.process.process.send_signal(signal.SIGHUP)
        new = world.socket()
        await until(lambda: world.socket() != new)


async def test_only_so_many_at_once(world: World, tmp_path: Path) -> None:
    running = [await world.begun(tmp_path, "--to", f"{number}.jsonl", "--for", "100s") for number in range(taps.MOST)]
    try:
        refused = _begun(world.command("--to", "more.jsonl"), tmp_path)
        _, errors = await asyncio.to_thread(refused.communicate, timeout=30)
        assert refused.returncode == 2
        assert "captures are under way already" in errors
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(process.communicate, timeout=30)


async def test_what_is_off_is_said_before_anybody_waits(world: World, tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        world.command("--to", "t.har", "--for", "500ms"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "of carts nothing is captured while its flag is off: banyan flags on carts.shadow" in done.stderr
    assert "0 requests captured: no file was made" in done.stdout
    assert names(tmp_path) == []


WRONG = {
    "--to t.txt": "its name does not say the format",
    "--to t.har --route nowhere": "has no route 'nowhere'",
    "--to t.har --for never": "--for",
    "--to t.har --for 0": "write a duration with its unit",
    "--to t.har --for 0s": "nothing is captured",
    "--to t.har --sample 0": "--sample 0",
    "--to t.har --max-bytes 7": "--max-bytes",
    "--to nowhere/t.har": "cannot be written",
    "--to t.har --admin 127.0.0.1:1": "no gateway answers",
}


@pytest.mark.parametrize("options", WRONG)
async def test_wrong_use_is_2_and_says_what_to_do(world: World, tmp_path: Path, options: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, world.command(*options.split()), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stdout
    assert WRONG[options] in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == []


async def test_a_tap_drops_what_it_has_no_room_for_and_counts_it() -> None:
    tap = taps.Tap(taps.Question(["r"]))
    side = Answer("legacy", "legacy", 200, b"", b"x" * 1000, 0.1)
    for number in range(taps.MAX_COUNT + 50):
        tap.offer(Shipped("r", "id", 1.0, "GET", "/", b"", b"", side, side))
        tap.offer(Shipped("other", "id", 1.0, "GET", "/", b"", b"", side, side))
        tap.offer(Shipped("r", "id", 1.0, "GET", "/", b"", b"", side, side, "noise"))
        assert tap.counts.seen == number + 1
    assert tap.counts.dropped == 50
    assert len(tap.take()) == taps.TURN
    large = Answer("legacy", "legacy", 200, b"", b"x" * taps.MAX_BYTES, 0.1)
    tap.offer(Shipped("r", "id", 1.0, "GET", "/", b"", b"", large, side))
    assert tap.counts.dropped == 51
