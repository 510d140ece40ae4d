"""Unleash's Admin API as far as its events go: real HTTP, with answers that the test decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson


class EventsApi:
    """`events` is what is found, whatever is asked; `asked` is (path, token) of each question."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        self.url = ""

    def happened(
        self, flag: str, by: str, at: float, *, kind: str = "feature-environment-enabled", environment: str = "development"
    ) -> None:
        """Somebody did something; times are Unix seconds."""
        event = {
            "id": len(self.events) + 1,
            "type": kind,
            "createdAt": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "createdBy": by,
            "createdByUserId": 1,
            "featureName": flag,
            "environment": environment,
        }
        self.events.insert(0, event)  # the newest first


@contextmanager
def events_api() -> Iterator[EventsApi]:
    api = EventsApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(api.status)
            self.end_headers()
            self.wfile.write(orjson.dumps({"events": api.events, "total": len(api.events)}))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="events-api")
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
