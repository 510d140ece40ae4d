"""The promise as a whole: a flip in a real Unleash moves real traffic, in every worker, within two seconds."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from demo.processes import Running, python, start
from demo.unleash import RunningUnleash
from flags.admin import UnleashAdmin

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

WORKERS = 2


@contextmanager
def upstream(name: str) -> Iterator[int]:
    """A server that answers everything with its own name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name=name)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()


def announced(running: Running) -> bool:
    return "banyan: serving on" in running.tail(200)


@contextmanager
def gateway(folder: Path, unleash: RunningUnleash, flag: str, legacy: int, candidate: int) -> Iterator[tuple[int, int]]:
    """`banyan run` on free ports; yields those of traffic and of the admin."""
    (folder / "banyan.toml").write_text(f"""
[gateway]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
workers = {WORKERS}
[flags]
source = "unleash"
url = "{unleash.api_url}"
token = "${{TEST_UNLEASH_TOKEN}}"
refresh = "500ms"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{candidate}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
flag = "{flag}"
""")
    running = start(
        "gateway",
        python("-m", "gateway.cli", "run", "--config", str(folder / "banyan.toml")),
        log_dir=folder,
        env={"TEST_UNLEASH_TOKEN": unleash.client_token},
        ready=announced,
    )
    try:
        found = re.search(r"serving on 127\.0\.0\.1:(\d+) .* admin on 127\.0\.0\.1:(\d+)", running.log.read_text())
        assert found is not None, running.tail()
        yield int(found[1]), int(found[2])
    finally:
        status = running.stop()
        assert unleash.client_token not in running.log.read_text()
    assert status == 0, running.tail()


def test_a_flip_in_unleash_moves_the_traffic_within_two_seconds(unleash: RunningUnleash, tmp_path: Path) -> None:
    with (
        UnleashAdmin(unleash.api_url, unleash.admin_token) as admin,
        upstream("legacy") as legacy,
        upstream("candidate") as candidate,
    ):
        admin.ensure_flag("gateway-flip")
        with gateway(tmp_path, unleash, "gateway-flip", legacy, candidate) as (port, admin_port):
            assert get(port, "/api/v1/reviews/1") == b"legacy"
            slowest = 0.0
            for wanted, enabled in [(b"candidate", True), (b"legacy", False)] * 3:
                flipped = time.monotonic()  # before it is asked for: the person's time counts, not Unleash's
                admin.set("gateway-flip", enabled)
                # Twenty new connections in a row on one side, and every worker says that it decides by the newest flags.
                streak, last_other = 0, flipped
                while streak < 20 or not all(json.loads(get(admin_port, "/flags"))["workers"].values()):
                    if get(port, "/api/v1/reviews/1") == wanted:
                        streak += 1
                    else:
                        streak, last_other = 0, time.monotonic()
                        assert last_other - flipped < 10
                slowest = max(slowest, last_other - flipped)
            print(f"slowest of 6 flips: {slowest:.2f} s until the last answer from the other side")
            assert slowest <= 2.0
            state = json.loads(get(admin_port, "/flags"))
            assert state["source"] == "unleash"
            assert state["error"] == ""
