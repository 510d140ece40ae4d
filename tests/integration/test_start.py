"""What a user meets at start: one clear line for each mistake, exit 2 where it is their file; and dying and draining without loss."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from demo.processes import ROOT, python
from tests.support.gateway import Exchange, Upstream, gateway, ok, write_flags

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n"


def config(folder: Path, *, listen: str = "127.0.0.1:0", legacy: int = 1, flags: bool = True) -> Path:
    path = folder / "banyan.toml"
    path.write_text(
        f'[gateway]\nlisten = ["{listen}"]\nadmin = "127.0.0.1:0"\nworkers = 1\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy}"\n'
        f'new = "http://127.0.0.1:{legacy}"\n[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\n'
    )
    if flags:
        write_flags(folder / "flags.json", {"reviews": False})
    return path


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - a look at /proc does not block, whatever the path type


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(python("-m", "gateway.cli", *arguments), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_wrong_file_ends_the_start(tmp_path: Path) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text() + "fallbck = true\n")
    for verb in ("run", "check"):
        ended = run(verb, "--config", str(path))
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert "routes[0].fallbck (route 'reviews'): unknown key" in ended.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("run", "--config", str(config(tmp_path, listen=f"127.0.0.1:{port}")))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"banyan: cannot listen on 127.0.0.1:{port}: Address already in use. Stop what uses it, or name another address\n"
    )


@pytest.mark.parametrize("content", [None, "not json", '{"features": 3}'])
def test_a_flag_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = config(tmp_path, flags=False)
    if content is not None:
        (tmp_path / "flags.json").write_text(content)
    for verb in ("run", "check"):
        ended = run(verb, "--config", str(path))
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert "flags.json" in ended.stderr


def test_check_says_fine(tmp_path: Path) -> None:
    ended = run("check", "--config", str(config(tmp_path)))
    assert ended.returncode == 0
    assert "fine. Routes: reviews" in ended.stdout
    assert "no flag 'reviews.shadow'" in ended.stdout


def test_wrong_use_is_exit_2() -> None:
    assert run("run", "--no-such-option").returncode == 2
    assert run("no-such-verb").returncode == 2


async def test_legacy_down_at_start_is_one_warning_and_no_obstacle(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    toml = f'[upstreams]\nlegacy = "http://127.0.0.1:{port}"\n'
    async with gateway(tmp_path, toml) as running:
        answer = await running.request(GET)
        assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-unreachable")
        legacy = Upstream(ok)
        await legacy.start(port)
        assert (await running.request(GET)).status == 200
        await legacy.stop()
    log = running.process.log.read_text()
    assert log.count(f"legacy at http://127.0.0.1:{port} cannot be reached") == 1


async def test_a_flag_file_broken_while_running_keeps_the_last_good_state(tmp_path: Path) -> None:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = (
        f'[gateway]\nexpose_decision = true\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\nnew = "http://127.0.0.1:{new.port}"\n'
        '[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\n'
    )
    async with gateway(tmp_path, toml, reviews=True) as running:
        running.flags.write_text("{broken")
        for _ in range(40):
            state = await asyncio.to_thread(running.get, "/flags")
            if state["error"]:
                break
            await asyncio.sleep(0.05)
        assert "flags.json" in state["error"]
        assert (await running.request(GET)).header("Banyan-Route") == "reviews; served-by=candidate; reason=flag"
        began = time.monotonic()
        await running.current(reviews=False)
        assert time.monotonic() - began < 1.0
        assert (await running.request(GET)).header("Banyan-Route") == "reviews; served-by=legacy; reason=flag-off"
    await legacy.stop()
    await new.stop()


async def test_a_killed_worker_is_replaced_and_its_waiting_connections_are_answered(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    async with gateway(tmp_path, f'[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n', workers=2) as running:
        first = running.workers()
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        # New connections of the dead worker wait in its socket, which the supervisor holds.
        answers = await asyncio.gather(*(running.request(GET) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len(set(running.workers()) - set(first)) == 1
        assert 'banyan_child_restarts_total{child="worker"} 1.0' in running.metrics()
    await legacy.stop()


async def test_sigterm_loses_nothing_in_flight(tmp_path: Path) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(1.0)
        await exchange.answer(b"late")

    legacy = Upstream(slow)
    await legacy.start()
    toml = f'[gateway.limits]\ndrain_timeout = "6s"\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    async with gateway(tmp_path, toml, workers=2) as running:
        in_flight = [asyncio.ensure_future(running.request(GET)) for _ in range(10)]
        await asyncio.sleep(0.3)
        os.kill(running.process.pid, signal.SIGTERM)
        await asyncio.sleep(0.3)
        # Load balancers have not looked away yet: a new connection is still served, and told to close.
        late = await running.request(GET)
        assert (late.status, late.header("Connection")) == (200, "close")
        assert {(await answer).status for answer in in_flight} == {200}
        assert await asyncio.to_thread(running.process.process.wait, 15) == 0
        assert "still in flight" not in running.process.log.read_text()
    await legacy.stop()


async def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    toml = f'[gateway.limits]\ndrain_timeout = "1s"\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    async with gateway(tmp_path, toml, workers=2) as running:
        workers = running.workers()
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.process.wait()
        for _ in range(100):
            if not any(alive(pid) for pid in workers):
                break
            await asyncio.sleep(0.05)
        assert not any(alive(pid) for pid in workers)
    await legacy.stop()
