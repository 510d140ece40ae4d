"""What Unleash is told of variants: nothing twice, nothing lost while it does not take it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flags import usage
from flags.usage import Usage


class Taking(ThreadingHTTPServer):
    """Takes usage, or refuses it with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 202
        self.toggles: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="taking")
        self.thread.start()


class _Handler(BaseHTTPRequestHandler):
    server: Taking

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 202:
            self.server.toggles.append(body["bucket"]["toggles"])
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Silent."""


@pytest.fixture
def server() -> Iterator[Taking]:
    taking = Taking()
    yield taking
    taking.shutdown()
    taking.thread.join()
    taking.server_close()


def test_variants_reach_unleash_once(server: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = Usage(f"http://127.0.0.1:{server.server_port}/api", {}, {"appName": "banyan"}, {})
    reports.known(b'{"features":[{"name":"f"},{"name":"g"}]}')
    reports.add({"f": (3, 0), "g": (1, 1), "gone": (1, 0)}, {"f": {"a": 2, "b": 1}, "gone": {"a": 1}})
    reports.send()
    assert server.toggles == [{"gone": {"yes": 1, "no": 0, "variants": {"a": 1}}}]  # the others are too new for Unleash
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 0.0)
    server.status = 503
    reports.send()
    reports.add({"f": (1, 1)}, {"f": {"b": 1, "disabled": 1}})
    server.status = 202
    reports.send()
    reports.send()
    assert server.toggles[1:] == [
        {
            "f": {"yes": 4, "no": 1, "variants": {"a": 2, "b": 2, "disabled": 1}},
            "g": {"yes": 1, "no": 1, "variants": {}},
        }
    ]
