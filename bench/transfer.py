"""`python -m bench.transfer PORT MODE BYTES FILE`: one large body, up, down or both at once, and how long it took.

Like the upstream, it moves no byte through Python: uploads are sendfile, downloads are thrown away inside the kernel. With --check every
byte is looked at instead, on both sides.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from bench.bulk import LENGTH, PIECE
from bench.load import PATH


class WrongError(Exception):
    """An answer that is not what was asked for."""


def upload(port: int, size: int, fd: int, *, check: bool) -> None:
    """Sends `size` bytes of the file `fd`, and waits for the answer that says so.

    Raises:
        WrongError: another answer.
    """
    at = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        head = f"POST {PATH}/3?{'check=1' if check else 'n=1'} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: {size}\r\n\r\n"
        sock.sendall(head.encode())
        sock.setblocking(True)
        while at < size:
            at += os.sendfile(sock.fileno(), fd, at, min(PIECE, size - at))
        answer_head, body = _head(sock)
        found = LENGTH.search(answer_head)
        while found and len(body) < int(found[1]):
            body += sock.recv(1000)
        wanted = _digest(fd, size) if check else str(size)
        if not answer_head.startswith(b"HTTP/1.1 200 ") or body != wanted.encode():
            raise WrongError(f"an upload was answered {answer_head + body!r}")


def download(port: int, size: int, *, check: bool) -> str:
    """Reads `size` bytes. Their digest, if they are to be checked.

    Raises:
        WrongError: there were not as many.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(f"GET {PATH}/3?bytes={size} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n".encode())
        head, body = _head(sock)
        found = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or found is None or int(found[1]) != size:
            raise WrongError(f"a download was answered {head!r}")
        digest = hashlib.sha256(body)
        left = size - len(body)
        room = bytearray(PIECE)
        sock.setblocking(True)
        while left > 0:
            count = sock.recv_into(room, min(PIECE, left), 0 if check else socket.MSG_TRUNC)
            if not count:
                raise WrongError(f"a download ended {left} bytes short")
            if check:
                digest.update(memoryview(room)[:count])
            left -= count
        return digest.hexdigest() if check else ""


def _head(sock: socket.socket) -> tuple[bytes, bytes]:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        data = sock.recv(4096)
        if not data:
            raise WrongError(f"the connection ended after {buffer!r}")
        buffer += data
    head, _, body = buffer.partition(b"\r\n\r\n")
    return head, body


def _digest(fd: int, size: int) -> str:
    digest = hashlib.sha256()
    for at in range(0, size, PIECE):
        digest.update(os.pread(fd, min(PIECE, size - at), at))
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("mode", choices=["upload", "download", "both"])
    parser.add_argument("bytes", type=int)
    parser.add_argument("file", help="what to upload, at least as long")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    fd = os.open(given.file, os.O_RDONLY)
    told: dict[str, object] = {}
    errors: list[Exception] = []

    def up() -> None:
        upload(given.port, given.bytes, fd, check=given.check)

    def down() -> None:
        told["digest"] = download(given.port, given.bytes, check=given.check)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, WrongError) as error:
            errors.append(error)

    parts = {"upload": [up], "download": [down], "both": [up, down]}[given.mode]
    threads = [threading.Thread(target=guarded, args=(part,)) for part in parts]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told["seconds"] = time.perf_counter() - began
    if errors:
        sys.exit(str(errors[0]))
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
