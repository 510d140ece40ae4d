"""A server that gives prepared answers over real sockets: for what the real one can only be brought to say by breaking it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final


@dataclass
class Place:
    port: int
    requests: list[str] = field(default_factory=list)
    """Each as "METHOD path body"."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def answering(
    status: int,
    body: str,
    *,
    until: int | None = None,
    then: tuple[int, str] = (200, ""),
    content_type: str = "application/json",
    after: float = 0.0,
) -> Iterator[Place]:
    """Answers everything with `status` and `body`, `after` seconds; from the request number `until` on (counted from 0) as `then` says."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            taken = self.rfile.read(length).decode()
            code, text = (status, body) if until is None or len(place.requests) < until else then
            place.requests.append(f"{self.command} {self.path} {taken}".rstrip())
            stopping.wait(after)
            data = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                pass  # nobody waited

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815 - its parent's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    stopping = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place = Place(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="answering")
    thread.start()
    try:
        yield place
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPPING: Final = {
    "head": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "body": (HEAD, b"1\r\n \r\n"),
    "informational": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}
"""What is sent at once, and what then at every pause, for ever."""
FLOOD: Final = (HEAD, b"10000\r\n" + b" " * 65536 + b"\r\n")


@contextmanager
def unending(first: bytes, then: bytes, *, pause: float, tls: ssl.SSLContext | None = None) -> Iterator[Place]:
    """Answers every request with `first`, and with `then` every `pause` seconds until nobody listens."""
    place = Place(0)
    stopping = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5.0)
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                place.requests.append(connection.recv(65536).decode().partition("\r\n")[0])
                connection.sendall(first)
                while not stopping.wait(pause):
                    connection.sendall(then)
            except OSError:
                pass  # nobody listens any more
            finally:
                connection.close()

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=serve, args=(connection,), name="unending answer"))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        place.port = listener.getsockname()[1]
        accepting = threading.Thread(target=accept, name="unending")
        accepting.start()
        try:
            yield place
        finally:
            stopping.set()
            for thread in (accepting, *threads):
                thread.join()
