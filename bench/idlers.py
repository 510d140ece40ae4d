"""`python -m bench.idlers PORT COUNT`: opens connections, asks a few times on each, and then only holds them.

It talks with who started it by lines: after `held` on its output it waits for a line of input, then asks once more on every connection,
which shows that all were still there, and ends with `alive`.
"""

from __future__ import annotations

import secrets
import socket
import sys

from bench import descriptors
from bench.load import BODIES, request

REQUESTS = 3
"""On each connection: a proxy may come to know a client by its second or third."""
BATCH = 100
"""Requests in flight at once while the connections are opened."""
PER_ADDRESS = 20_000
"""Connections from one source address: an address has some 28,000 ports to give."""

IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h: the port is chosen when it is known whereto, so that it may be in use elsewhere. Python has no name for it."""


def connect(port: int, number: int) -> socket.socket:
    """The `number`-th connection, from a loopback address of its own for every PER_ADDRESS."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(20)
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    sock.connect(("127.0.0.1", port))
    return sock


def ask(socks: list[socket.socket], sessions: list[bytes], first: int) -> None:
    """One request on each, all at once. Ends the process at an answer that is not right."""
    for number, sock in enumerate(socks):
        sock.sendall(request(first + number, sessions[number]))
    for number, sock in enumerate(socks):
        wanted = BODIES[(first + number) % 7]
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < len(wanted):
            data = sock.recv(65536)
            if not data:
                sys.exit(f"connection {first + number} was closed after {answer!r}")
            answer += data
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\n" + wanted):
            sys.exit(f"a wrong answer on connection {first + number}: {answer[:200]!r}")


def main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    descriptors.allow(count + 100)
    socks: list[socket.socket] = []
    sessions = [secrets.token_hex(12).encode() for _ in range(count)]
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        socks += [connect(port, number) for number in range(first, last)]
        for turn in range(REQUESTS):
            ask(socks[first:], sessions[first:last], first + turn * count)
    print("held", flush=True)
    sys.stdin.readline()
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        ask(socks[first:last], sessions[first:last], first)
    print("alive", flush=True)


if __name__ == "__main__":
    main()
