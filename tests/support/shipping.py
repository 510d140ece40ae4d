"""A shipper, shadow workers and their database, as processes, and an edge worker's part played by the test."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from demo.processes import Running, start
from shadow.exchange import Answer, Exchange, RouteCounts, Summary, encode
from tests.support.nats import Nats

JSON = b"Content-Type: application/json\r\n"
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[shadow]
sink = "jetstream"
nats = "{nats}"
database = "{database}"
[shadow.jetstream]
stream = "{stream}"
{more}
"""


def pair(
    legacy: Any,
    candidate: Any,
    *,
    at: float | None = None,
    kind: Any = "pair",
    route: str = "reviews",
    head: bytes = JSON,
    **more: Any,
) -> Exchange:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    one = Answer("legacy", "legacy", 200, head, bodies[0], 0.01)
    other = Answer("legacy" if kind == "noise" else "candidate", "new", 200, head, bodies[1], 0.02, **more)
    return Exchange(route, "r-1", time.time() if at is None else at, "GET", "/reviews/1?email=me%40x", b"", b"", one, other, kind)


class Shop:
    """One configuration in a folder, and whatever was started by it."""

    streams = 0

    def __init__(self, folder: Path, nats: Nats, database: str = "sqlite:///var/banyan.sqlite3", more: str = "", url: str = "") -> None:
        """`url`: another way to `nats`."""
        Shop.streams += 1
        self.folder = folder
        self.nats = nats
        self.stream = f"T{Shop.streams}"
        self.config = folder / "banyan.toml"
        self.config.write_text(TOML.format(nats=url or nats.url, database=database, stream=self.stream, more=more))
        self.socket = folder / "s"
        self.database = database
        self.running: list[Running] = []
        self._started = 0

    def start_shipper(self) -> Running:
        return self._start(
            "shipper",
            ["-m", "shadow.shipper", "--config", str(self.config), "--socket", str(self.socket)],
            lambda _: self.socket.exists() and connects(self.socket),
        )

    def start_worker(self, *arguments: str, wait: bool = True) -> Running:
        """`wait`: until it takes."""
        command = ["-m", "gateway.cli", "shadow", "--config", str(self.config), *arguments]
        return self._start("worker", command, (lambda running: "taking from" in running.log.read_text()) if wait else None)

    def _start(self, name: str, command: list[str], ready: Callable[[Running], bool] | None) -> Running:
        self._started += 1
        made = start(f"{name}-{self._started}", [sys.executable, *command], log_dir=self.folder, ready=ready)
        self.running.append(made)
        return made

    def send(self, records: Iterable[Exchange], *, captured: int = 0, route: str = "reviews") -> None:
        """As an edge worker does: the exchanges, and the summary that says how many of them there were."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            sock.sendall(b"".join(map(encode, records)))
            if captured:
                sock.sendall(encode(Summary(time.time(), "w", {route: RouteCounts(eligible=captured, captured=captured)})))

    def counted(self, route: str = "reviews") -> dict[str, int]:
        """Name → count, as stored."""
        if not self.database.startswith("sqlite"):
            import psycopg

            with psycopg.connect(self.database) as server:
                try:
                    return dict(server.execute("SELECT name, SUM(count)::int FROM shadow_tally WHERE route = %s GROUP BY name", [route]))  # type: ignore[arg-type]  # rows of two
                except psycopg.errors.UndefinedTable:
                    return {}
        path = self.folder / "var" / "banyan.sqlite3"
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                return dict(connection.execute("SELECT name, SUM(count) FROM shadow_tally WHERE route = ? GROUP BY name", [route]))
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return {}  # not made yet

    def accounted(self, route: str = "reviews") -> int:
        """Exchanges of which it is known what became of them."""
        found = self.counted(route)
        return sum(
            number for name, number in found.items() if name in ("matched", "mismatched") or name.startswith(("skipped.", "dropped."))
        )

    def reconciled(self) -> dict[str, Any]:
        """As `banyan report` says it."""
        command = [sys.executable, "-m", "gateway.cli", "report", "reviews", "--json", "--config", str(self.config)]
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        found: dict[str, Any] = json.loads(done.stdout)["reconciliation"]
        return found

    def waiting(self) -> int:
        """Messages in the stream that nobody has acknowledged."""
        return self.messages()[0]

    def messages(self) -> tuple[int, int]:
        """(in the stream now, ever put there)."""

        async def ask(stream: JetStreamContext) -> tuple[int, int]:
            try:
                state = (await stream.stream_info(self.stream)).state
            except NotFoundError:
                return 0, 0  # not made yet
            return state.messages, state.last_seq

        return self.nats.ask(ask)

    def log(self) -> str:
        return "\n".join(f"{each.name}: {line}" for each in self.running for line in each.log.read_text(errors="replace").splitlines())

    def stop(self) -> None:
        for each in reversed(self.running):
            each.stop(20)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def wait_for(check: Callable[[], bool], shop: Shop, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen in time; counted: {shop.counted()}\n{shop.log()[-4000:]}")
        time.sleep(0.05)
