"""A gateway's admin port as far as the console asks it: real HTTP, and every answer is the test's to decide."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

EVERYBODY = {"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "default", "groupId": "reviews"}, "constraints": []}


def feature(name: str, enabled: bool, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "release", "enabled": enabled, "strategies": [EVERYBODY], **more}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def end(self) -> None:
        """As its process would: no connection outlives it."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client was first


class AdminPort:
    """The contract: GET /flags, GET /flags/changes?after=N over the last `ring` changes, GET /config and /routes as far as they are read,
    GET /top/minutes?after=T; PUT and DELETE /flags/overrides/FLAG, and POST /flags/refresh."""

    def __init__(self, ring: int = 1000) -> None:
        self.gateway = "run-1"
        self.state: dict[str, Any] = {
            "source": "file",
            "revision": "0123456789abcdef",
            "error": "",
            "fetched_at": time.time(),
            "staleness_seconds": 0.04,
            "flags": {"reviews": False, "reviews.shadow": False},
            "overrides": {},
            "problems": [],
            "workers": {"0": True},
        }
        self.changes: deque[dict[str, Any]] = deque(maxlen=ring)
        self.number = 0
        self.minutes: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.status = 200
        self.ordered: list[tuple[str, str, Any]] = []
        """What was to be changed: method, path and body."""
        self.refusal: tuple[int, dict[str, str]] | None = None
        """How that is answered; None: it is done."""
        self.warning = ""
        self.config: dict[str, Any] = {"number": 1, "loaded_at": time.time(), "reloads": {"ok": 0, "failed": 0}, "last_reload": None}
        self.routes: list[dict[str, Any]] = []
        self.go = threading.Event()
        """Answers wait for it."""
        self.go.set()
        self.port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def change(self, flag: str, old: Any, new: Any, *, kind: str = "flag", by: str = "", why: str = "", at: float | None = None) -> None:
        """Something changed."""
        self.number += 1
        moment = time.time() if at is None else at
        told = {"number": self.number, "at": moment, "kind": kind, "flag": flag, "old": old, "new": new, "by": by, "why": why}
        self.changes.append(told)

    def burst(self, changes: list[tuple[str, Any, Any]]) -> None:
        """All of them between two questions."""
        told = [
            {"number": self.number + index, "at": time.time(), "kind": "flag", "flag": flag, "old": old, "new": new, "by": "", "why": ""}
            for index, (flag, old, new) in enumerate(changes, 1)
        ]
        self.number += len(told)
        self.changes = deque([*self.changes, *told], maxlen=self.changes.maxlen)

    def restart(self) -> None:
        """As a gateway that was started anew."""
        self.changes.clear()
        self.number = 0
        self.gateway = f"run-{int(self.gateway.removeprefix('run-')) + 1}"

    def overridden(self, method: str, flag: str, body: Any) -> dict[str, Any]:
        """Sets or ends an override."""
        until = time.time() + body["seconds"] if method == "PUT" else None
        if method == "PUT":
            said = {"enabled": body["enabled"], "since": time.time(), "until": until, "by": body["by"], "why": body["why"]}
            self.state["overrides"] = {**self.state["overrides"], flag: said}
        else:
            self.state["overrides"] = {name: each for name, each in self.state["overrides"].items() if name != flag}
        return {"flag": flag, "enabled": body.get("enabled"), "until": until, "workers": self.state["workers"], "warning": self.warning}

    def start(self) -> None:
        """On the port that it had."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.go.wait(30)
                parts = urlsplit(self.path)
                body: Any = {}
                if parts.path == "/flags":
                    body = outer.state
                elif parts.path == "/flags/changes":
                    after = int(parse_qs(parts.query)["after"][0])
                    body = {"gateway": outer.gateway, "changes": [change for change in list(outer.changes) if change["number"] > after]}
                elif parts.path == "/config":
                    body = outer.config
                elif parts.path == "/top/minutes":
                    after = int(parse_qs(parts.query)["after"][0])
                    told = [minute for minute in list(outer.minutes) if minute["at"] > after or not minute["complete"]]
                    body = {"gateway": outer.gateway, "minutes": told}
                elif parts.path == "/routes":
                    body = {"routes": outer.routes}
                self.answer(outer.status, body)

            def do_PUT(self) -> None:
                self.change()

            def do_DELETE(self) -> None:
                self.change()

            def do_POST(self) -> None:
                self.change()

            def change(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.ordered.append((self.command, self.path, orjson.loads(raw) if raw else None))
                outer.go.wait(30)
                if outer.refusal is not None:
                    self.answer(*outer.refusal)
                elif self.path == "/flags/refresh":
                    self.answer(200, outer.state)
                else:
                    self.answer(200, outer.overridden(self.command, self.path.rpartition("/")[2], outer.ordered[-1][2]))

            def answer(self, status: int, body: Any) -> None:
                data = orjson.dumps(body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:
                    pass  # whoever asked has given up

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                pass

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="admin-port")
        self._thread.start()

    def stop(self) -> None:
        self.go.set()
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join()
            self._server = None


@contextmanager
def admin_port(ring: int = 1000) -> Iterator[AdminPort]:
    port = AdminPort(ring)
    port.start()
    try:
        yield port
    finally:
        port.stop()
