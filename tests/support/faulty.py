"""An upstream in a process of its own that writes down what it executes, and fails where a request's X-Fault says so.

    python -m tests.support.faulty --fd 3 --name legacy --record legacy.jsonl

A request is executed once it is there whole, and it is written down before anything of the answer goes out: a process that is killed leaves
no doubt about what it had done. Every line of an answer's body names the request's id, and so does every line of a request's body.

`X-Fault: NAME KIND` concerns only the upstream of that name. KIND is one of FAULTS: where the connection is reset. `X-Fault` has another
meaning nowhere. `X-Wait: 0.05` is how long an execution takes, `X-Lines: 100` how long the answer is, `X-Coding: chunked` how it is framed.
/events/… streams an event every 20 ms until its client is gone; an Upgrade is agreed to, and then answered line by line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from contextlib import suppress

FAULTS = ("unread", "head read", "mid head", "head sent", "mid body", "before the end")
"""Nothing of the request was read; its head was, and then its body; half of the answer's head is out; all of it; half of its body; all but
the last chunk, or the last byte."""


class EndedError(Exception):
    """This connection has ended."""


class Server:
    """`record` is a file descriptor. `wait`: seconds that every execution takes, beside what its request says."""

    def __init__(self, name: str, record: int, wait: float) -> None:
        self.name = name
        self.record = record
        self.wait = wait

    def serve(self, listening: socket.socket) -> None:
        while True:
            sock, _ = listening.accept()
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        with sock, suppress(EndedError, ConnectionError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            while True:
                rest = Exchange(self, sock, rest).run()


class Exchange:
    """One request and its answer."""

    def __init__(self, server: Server, sock: socket.socket, data: bytes) -> None:
        self._server = server
        self._sock = sock
        self._data = data

    def run(self) -> bytes:
        """Returns what was read beyond it."""
        head = self._head()
        self._fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])}
        self._method, target, _ = head.split("\r\n")[0].split(" ")
        self._id = self._fields.get("x-request-id", "")
        owner, _, fault = self._fields.get("x-fault", "").partition(" ")
        self._fault = fault if owner == self._server.name else ""
        if "upgrade" in self._fields:
            self._echo()
        body = self._body()
        self._execute(body)
        if self._fault == "head read":
            self._reset()
        time.sleep(float(self._fields.get("x-wait", "0")) + self._server.wait)
        if target.startswith("/events/"):
            self._events()
        self._answer()
        return self._data

    def _head(self) -> str:
        while b"\r\n\r\n" not in self._data:
            waiting = self._sock.recv(65536, socket.MSG_PEEK)
            if f"x-fault: {self._server.name} unread\r\n".encode() in waiting.lower():
                self._reset()
            self._read()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def _body(self) -> bytes:
        if "transfer-encoding" in self._fields:
            body = b""
            while size := int(self._line(), 16):
                body += self._take(size + 2)[:-2]
            self._take(2)
            return body
        return self._take(int(self._fields.get("content-length", "0")))

    def _execute(self, body: bytes) -> None:
        said = sorted(set(body.decode().split()))
        line = {"id": self._id, "upstream": self._server.name, "method": self._method, "said": said, "pid": os.getpid()}
        os.write(self._server.record, json.dumps(line).encode() + b"\n")

    def _answer(self) -> None:
        lines = int(self._fields.get("x-lines", "1"))
        if lines > 100_000:
            self._long(lines)
            return
        body = f"{self._id}\n".encode() * lines
        chunked = self._fields.get("x-coding") == "chunked"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Answer-To: %b\r\n" % self._id.encode()
        head += b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % len(body)
        if chunked:
            half = len(body) // 2
            body, end = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part), b"0\r\n\r\n"
        else:
            body, end = body[:-1], body[-1:]
        if self._method == "HEAD":
            body = end = b""
        begun = {"mid head": head[: len(head) // 2], "head sent": head, "mid body": head + body[: len(body) // 2]}
        parts = {**begun, "before the end": head + body}
        if self._fault in parts:
            self._sock.sendall(parts[self._fault])
            time.sleep(0.02)  # so that it is read before the reset, which throws away what is not
            self._reset()
        self._sock.sendall(head + body + end)

    def _long(self, lines: int) -> None:
        """Without having all of it at hand."""
        piece = f"{self._id}\n".encode() * 1000
        self._sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * (lines // 1000)))
        for _ in range(lines // 1000):
            self._sock.sendall(piece)

    def _events(self) -> None:
        self._sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        number = 0
        while True:
            event = b"data: %b %d\n\n" % (self._id.encode(), number)
            self._sock.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            number += 1
            time.sleep(0.02)

    def _echo(self) -> None:
        self._sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n")
        while True:
            line = self._line()
            self._sock.sendall(f"{self._id} {line.strip()}\n".encode())

    def _line(self) -> str:
        while b"\n" not in self._data:
            self._read()
        line, _, self._data = self._data.partition(b"\n")
        return line.decode()

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._read()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _read(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise EndedError
        self._data += data

    def _reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise EndedError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--wait", type=float, default=0.0)
    arguments = parser.parse_args()
    assert re.fullmatch(r"[a-z]+", arguments.name)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    record = os.open(arguments.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    Server(arguments.name, record, arguments.wait).serve(socket.socket(fileno=arguments.fd))


if __name__ == "__main__":
    main()
