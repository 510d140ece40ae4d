"""`python -m bench.bulk FD`: an upstream for large bodies that is never what is measured.

It moves no byte through Python: downloads are sendfile from the page cache, as nginx does it; uploads are thrown away inside the kernel
(MSG_TRUNC), which is cheaper than anything that reads them. nginx itself is no faithful end for an upload: it answers before the body is
there, or reads it in pieces of 4 KiB. Where a transfer is to be checked, the digest of the bytes is taken instead.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import tempfile
import threading

PIECE = 1024 * 1024
LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_WANTED = re.compile(rb"[?&]bytes=(\d+)")


class Pages:
    """A file of random bytes, as long as the longest that was asked for. Unlinked: it goes with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd, path = tempfile.mkstemp(prefix="banyan-bulk-")
        os.unlink(path)  # noqa: PTH108 - as mkstemp gave it
        self._size = 0

    def upto(self, size: int) -> int:
        """Its descriptor, with at least `size` bytes in it."""
        with self._lock:
            while self._size < size:
                self._size += os.pwrite(self._fd, os.urandom(min(PIECE, size - self._size)), self._size)
        return self._fd


def serve(sock: socket.socket, pages: Pages) -> None:
    """One connection's requests."""
    with sock:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            if head.startswith(b"POST "):
                size = int(length[1]) if length else 0
                digest = hashlib.sha256() if b"check=1" in head else None
                _swallow(sock, buffer, size, digest)
                buffer = b""
                answer = digest.hexdigest().encode() if digest else b"%d" % size
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
            else:
                wanted = _WANTED.search(head)
                _send(sock, pages, int(wanted[1]) if wanted else 1000)


def _send(sock: socket.socket, pages: Pages, size: int) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size)
    fd, at = pages.upto(size), 0
    while at < size:
        at += os.sendfile(sock.fileno(), fd, at, min(PIECE, size - at))


def _swallow(sock: socket.socket, begun: bytes, size: int, digest: hashlib._Hash | None) -> None:
    room = bytearray(PIECE)
    if digest is not None:
        digest.update(begun)
    left = size - len(begun)
    while left > 0:
        count = sock.recv_into(room, min(PIECE, left), 0 if digest is not None else socket.MSG_TRUNC)
        if not count:
            return
        if digest is not None:
            digest.update(memoryview(room)[:count])
        left -= count


def _connection(sock: socket.socket, pages: Pages) -> None:
    try:
        serve(sock, pages)
    except OSError:
        pass  # a proxy that ends


def main() -> None:
    listening = socket.socket(fileno=int(sys.argv[1]))
    pages = Pages()
    while True:
        sock, _ = listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_connection, args=(sock, pages), daemon=True).start()


if __name__ == "__main__":
    main()
