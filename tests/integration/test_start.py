"""What a user meets at start: one clear line for each mistake, exit 2 where it is their file; and dying and draining without loss."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

from demo.processes import ROOT, python
from gateway.config import load
from gateway.listening import BindError, bind
from gateway.supervisor import StartError, Supervisor
from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok, write_flags

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
    assert log.count(f"legacy at http://127.0.0.1:{port} cannot be reached (Connection refused)") == 1


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


async def test_a_killed_worker_costs_its_own_requests_and_is_replaced_within_two_seconds(tmp_path: Path) -> None:
    """edge.md 66. The best of three: what a busy machine takes to start a process is not what is asked."""
    go_on = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.answer(b"late")

    legacy = Upstream(slow)
    await legacy.start()
    toml = f'[upstreams.legacy]\nurl = "http://127.0.0.1:{legacy.port}"\nresponse_timeout = "30s"\n'
    async with gateway(tmp_path, toml, workers=2) as running:
        clients = [await running.connect() for _ in range(16)]
        answers = [asyncio.create_task(client.request(GET)) for client in clients]

        def in_flight() -> list[int]:
            return [int(float(count)) for count in re.findall(r"(?m)^banyan_requests_in_flight\{.*\} (\S+)$", running.metrics())]

        for _ in range(100):
            if sum(in_flight()) == 16:
                break
            await asyncio.sleep(0.05)
        first, second = in_flight()
        assert first + second == 16
        times = list[float]()
        at_first = running.workers()
        killed = at_first[0]
        while len(times) < 3 and min(times, default=9.0) > 2.0:
            before = running.workers()
            began = time.monotonic()
            os.kill(killed, signal.SIGKILL)
            for _ in range(1000):
                if 'banyan_worker_config_current{worker="0"} 1.0' in running.metrics() and len(set(running.workers()) - set(before)) == 1:
                    break
                await asyncio.sleep(0.01)
            times.append(time.monotonic() - began)
            (killed,) = set(running.workers()) - set(at_first)
        go_on.set()
        ends = await asyncio.gather(*answers, return_exceptions=True)
        failed = [end for end in ends if isinstance(end, BaseException)]
        assert all(isinstance(end, asyncio.IncompleteReadError | ConnectionError) for end in failed), failed
        assert len(failed) == first
        assert {end.body for end in ends if not isinstance(end, BaseException)} <= {b"late"}
        assert min(times) < 2.0, times
    await legacy.stop()


def readiness(running: Gateway) -> tuple[int, dict[str, str]]:
    try:
        return 200, running.get("/readyz")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


async def test_readyz_says_which_worker_stays_away(tmp_path: Path) -> None:
    """Whose share of new connections waits for nobody."""
    legacy = Upstream(ok)
    await legacy.start()
    async with gateway(tmp_path, f'[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n', workers=2) as running:
        both = running.workers()
        os.kill(both[1], signal.SIGKILL)
        began = time.monotonic()

        def successors() -> list[int]:
            return [pid for pid in running.workers() if pid not in both]

        while not successors() or 'banyan_worker_config_current{worker="1"} 1.0' not in running.metrics():
            status, _ = await asyncio.to_thread(readiness, running)
            passed = time.monotonic() - began
            assert passed < 10
            assert status == 200 or passed > 2.0, "a restart is no reason to go elsewhere"
            await asyncio.sleep(0.02)
        # One that keeps ending: its successors do not live long enough to accept.
        (started,) = successors()
        os.kill(started, signal.SIGKILL)
        began = time.monotonic()
        unready = 0.0
        while time.monotonic() - began < 6:
            for pid in successors():
                os.kill(pid, signal.SIGKILL)
            status, said = await asyncio.to_thread(readiness, running)
            if status == 503:
                unready = time.monotonic() - began
                break
            await asyncio.sleep(0.02)
        assert 2.0 <= unready < 4.0
        assert said["status"] == "degraded"
        assert re.fullmatch(r"worker 1 has been away for \d s", said["reason"])
        assert (await asyncio.to_thread(running.get, "/healthz"))["status"] == "alive"
        for _ in range(200):
            if (await asyncio.to_thread(readiness, running))[0] == 200:
                break
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(readiness, running) == (200, {"status": "ready"})
        assert (await running.request(GET)).status == 200
    await legacy.stop()


@pytest.mark.parametrize("becomes", ["without its folder", "a folder itself", "a pipe that nobody reads"])
async def test_a_worker_comes_back_whatever_became_of_the_access_log(tmp_path: Path, becomes: str) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "access.log"
    toml = f'[gateway]\naccess_log = "logs/access.log"\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    async with gateway(tmp_path, toml) as running:
        assert (await running.request(GET)).status == 200
        log.unlink()
        if becomes == "without its folder":
            logs.rmdir()
        elif becomes == "a folder itself":
            log.mkdir()
        else:
            os.mkfifo(log)
        (first,) = running.workers()
        os.kill(first, signal.SIGKILL)
        answers = [await running.request(GET) for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        for _ in range(100):
            if 'banyan_events_total{event="access-log-dropped"} 5.0' in running.metrics():
                break
            await asyncio.sleep(0.05)
        assert 'banyan_events_total{event="access-log-dropped"} 5.0' in running.metrics()
        assert 'banyan_child_restarts_total{child="worker"} 1.0' in running.metrics()
        assert (await asyncio.to_thread(readiness, running))[0] == 200
        # And once it can be written again, it is.
        if becomes == "without its folder":
            logs.mkdir()
        elif becomes == "a folder itself":
            log.rmdir()
        else:
            log.unlink()
        for _ in range(100):
            if log.is_file():
                break
            await asyncio.sleep(0.05)
        assert (await running.request(GET)).status == 200
        for _ in range(100):
            if log.read_text().count("\n") == 1:
                break
            await asyncio.sleep(0.05)
        assert json.loads(log.read_text())["target"] == "/reviews/3"
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


def test_the_installed_command_starts_from_any_folder(tmp_path: Path) -> None:
    """As a user runs it: no checkout as current folder, none on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", "import gateway.net.relay, gateway.policy.decision, flags.decisions"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    config(tmp_path)
    banyan = [str(Path(sys.executable).parent / "banyan"), "run"]
    with subprocess.Popen(banyan, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("banyan: serving on 127.0.0.1:")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert process.returncode == 0


FRESH = '[routes.shadow.compare.freshness]\nmax_age = "5s"\nas_of = "Age"\nlast_modified = "$.changed"\n'


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('[shadow]\nredact = ["$.a["]\n', "shadow.redact"),
        ('[shadow]\nredact = ["not a header"]\n', "shadow.redact"),
        ('[shadow]\ndatabase = "mysql://a/b"\n', "shadow.database"),
        ('[routes.shadow.compare]\nignore = ["items"]\n', "routes[0].shadow.compare.ignore"),
        ('[routes.shadow.compare]\ntolerance = { "$.a[" = 0.1 }\n', "routes[0].shadow.compare.tolerance"),
        ('[routes.shadow.compare]\ntolerance = { "$.a" = "1 percent" }\n', "routes[0].shadow.compare.tolerance"),
        ('[routes.shadow.compare]\ntime = ["at"]\n', "routes[0].shadow.compare.time"),
        ('[routes.shadow.compare.freshness]\nmax_age = "5s"\nas_of = "Age"\n', "routes[0].shadow.compare.freshness.last_modified"),
        (FRESH.replace('"5s"', '"0s"'), "routes[0].shadow.compare.freshness.max_age"),
        (FRESH.replace("Age", "$..age"), "routes[0].shadow.compare.freshness"),
        (FRESH.replace("$.changed", "the body"), "routes[0].shadow.compare.freshness"),
        (FRESH.replace('"$.changed"', "{}"), "routes[0].shadow.compare.freshness"),
        ('[routes.shadow.compare]\npattern = { "$.id" = "(?=a)" }\n', "routes[0].shadow.compare.pattern"),
    ],
)
def test_what_the_shipper_would_stumble_over_is_said_at_once(tmp_path: Path, section: str, says: str) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text() + section)
    for verb in ("run", "check"):
        ended = run(verb, "--config", str(path))
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert says in ended.stderr


def test_an_access_log_that_cannot_be_written(tmp_path: Path) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text().replace("workers = 1", 'workers = 1\naccess_log = "missing/access.log"'))
    ended = run("run", "--config", str(path))
    assert ended.returncode == 2
    assert (
        ended.stderr == f"banyan: {path}: gateway.access_log: {tmp_path}/missing/access.log: No such file or directory. Name another file\n"
    )


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("sqlite:////proc/nope/x.sqlite3", "/proc/nope: No such file or directory. Name another file"),
        ("sqlite:///flags.json/x.sqlite3", "flags.json: File exists. Name another file"),
        ("sqlite:///x.sqlite3", "redact.key does not hold a key of 32 bytes in hex; remove the file to have a new one made"),
    ],
)
def test_a_place_where_comparisons_cannot_be_kept_ends_the_start(tmp_path: Path, database: str, said: str) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text() + f'[shadow]\ndatabase = "{database}"\n')
    (tmp_path / "redact.key").write_text("short")
    before = {each.name for each in tmp_path.iterdir()}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = python("-m", "gateway.cli", "run", "--config", str(path))
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"banyan: {path}: shadow.database: "), ended.stderr
    assert ended.stderr.endswith(f"{said}\n"), ended.stderr
    assert {each.name for each in tmp_path.iterdir()} - before <= {"x.sqlite3"}


@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_unix_address_never_removes_what_is_not_a_dead_socket(tmp_path: Path, there: str) -> None:
    target = tmp_path / "taken"
    if there == "file":
        target.write_text("precious")
    else:
        target.mkdir()
    ended = run("run", "--config", str(config(tmp_path, listen=f"unix:{target}")))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"banyan: cannot listen on unix:{target}: something that is not a socket is there. Remove it, or name another path\n"
    )
    assert target.is_dir() if there == "folder" else target.read_text() == "precious"


def test_a_live_unix_socket_is_not_taken_over_and_a_dead_one_is(tmp_path: Path) -> None:
    target = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as live:
        live.bind(str(target))
        live.listen()
        with pytest.raises(BindError, match="Address already in use"):
            bind(f"unix:{target}")
    bind(f"unix:{target}").close()


def test_failed_starts_leave_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    path = config(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}", 1))
        command = python("-m", "gateway.cli", "run", "--config", str(path))
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert {each.name for each in tmp_path.iterdir()} <= {"banyan.toml", "flags.json", "var"}


async def test_a_worker_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    path = config(tmp_path)
    read = load(path)
    supervisor = Supervisor(read, path.read_text(), engine="no.such.engine")
    supervisor.listen()

    async def no_admin(_: Supervisor) -> None:
        return None

    with pytest.raises(StartError, match=r"worker 0 could not be started \(status 1\)"):
        async with asyncio.timeout(60):
            await supervisor.run(no_admin)


async def test_sigterm_under_steady_load(tmp_path: Path) -> None:
    """Clients that open a connection for each request are answered until the end, then refused: none is reset, not even in the moment in
    which the sockets are closed."""
    legacy = Upstream(ok)
    await legacy.start()
    answered, refused, failed = 0, 0, []
    toml = f'[gateway.limits]\ndrain_timeout = "3s"\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    try:
        async with gateway(tmp_path, toml, workers=2) as running:
            stop, over = asyncio.Event(), asyncio.Event()

            async def client() -> None:
                nonlocal answered, refused
                while not stop.is_set():
                    try:
                        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
                    except ConnectionRefusedError:
                        refused += 1
                        if refused >= 20:
                            over.set()
                        await asyncio.sleep(0.05)
                        continue
                    except ConnectionResetError as error:  # it was let into the queue, and the queue was closed
                        failed.append(error)
                        continue
                    try:
                        writer.write(GET)
                        head = await reader.readuntil(b"\r\n\r\n")
                        assert head.startswith(b"HTTP/1.1 200 ")
                        answered += 1
                    except (OSError, asyncio.IncompleteReadError) as error:
                        failed.append(error)
                    finally:
                        writer.close()

            clients = [asyncio.create_task(client()) for _ in range(5)]
            await asyncio.sleep(0.5)
            os.kill(running.process.pid, signal.SIGTERM)
            async with asyncio.timeout(30):
                await over.wait()
            stop.set()
            await asyncio.gather(*clients)
    finally:
        await legacy.stop()
    assert answered > 100
    assert failed == []


@pytest.mark.parametrize("while_importing", ["cyclopts", "uvicorn"])
def test_ctrl_c_while_modules_are_imported_is_quiet(tmp_path: Path, while_importing: str) -> None:
    # -X importtime says on standard error what was just imported.
    command = [sys.executable, "-X", "importtime", "-m", "gateway.cli", "run", "--config", str(config(tmp_path))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(f" {while_importing}" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors


async def test_a_worker_takes_as_many_open_files_as_it_may_have(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 64 + len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths; what other tests of this process hold open counts too
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))  # what the gateway inherits; the test itself needs more again
    try:
        running = gateway(tmp_path, f'[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n')
        started = await running.__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert resource.prlimit(started.workers()[0], resource.RLIMIT_NOFILE) == (hard, hard)
        clients = [await started.connect() for _ in range(few + 72)]
        for client in clients:  # all of them open at the same time
            assert (await client.request(GET)).status == 200
    finally:
        await running.__aexit__(None, None, None)
        await legacy.stop()
