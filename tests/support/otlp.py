"""A receiver of traces, over a real socket: it keeps what it is sent, and answers as the test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """`status`: what it answers. `raw`: every body; `fields`: those of every request."""

    def __init__(self) -> None:
        self.status = 200
        self.raw: list[bytes] = []
        self.fields: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.port = 0
        self.go = threading.Event()
        """Nothing is answered before."""
        self.go.set()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def start(self, port: int = 0) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.go.wait(60)
                receiver.paths.append(self.path)
                receiver.fields.append({name.lower(): value for name, value in self.headers.items()})
                if receiver.status == 200:
                    receiver.raw.append(body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """It says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.go.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)
            self._server = None

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.raw]

    @property
    def spans(self) -> list[Span]:
        """In the order in which they came."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def until(self, enough: Callable[[list[Span]], bool], seconds: float = 30.0) -> list[Span]:
        """All spans, once they are enough. It blocks."""
        deadline = time.monotonic() + seconds
        while not enough(found := self.spans):
            assert time.monotonic() < deadline, f"it did not come: {[(span.name, attributes(span)) for span in found]}"
            time.sleep(0.05)
        return found


def attributes(span: Span) -> dict[str, Any]:
    """Name → value."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in span.attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
