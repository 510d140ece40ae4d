#!/usr/local/bin/python3 -IS
"""banyan-ask METHOD PATH [ADDRESS]: one question to a port of this container, for probes and hooks. Exit status 0: it answered 2xx.

ADDRESS is host:port or unix:/path; by default BANYAN_ADMIN, else that of the gateway's admin port. The image has no curl, which would be
one program more to keep up to date; and whoever asks every five seconds must not cost what `banyan` costs to start.
"""

import os
import socket
import sys

TIMEOUT = 2.0
"""Seconds for each wait. The kubelet ends the command by itself when it has waited long enough."""
MOST = 64 * 1024 * 1024
"""Bytes of an answer that are looked at."""


def connected(address: str) -> socket.socket:
    """A connection to `address`.

    Raises:
        OSError: nobody answers there.
        ValueError: it is no address.
    """
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(address.removeprefix("unix:"))
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT)


def ask(method: str, path: str, address: str) -> bytes:
    """The whole answer. HTTP/1.0: its end is the connection's.

    Raises:
        OSError: there is none, or none in time.
        ValueError: `address` is none.
    """
    answer = bytearray()
    with connected(address) as sock:
        sock.sendall(f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        while len(answer) < MOST and (data := sock.recv(65536)):
            answer += data
    return bytes(answer)


def main(arguments: list[str]) -> int:
    """The command."""
    if len(arguments) not in (2, 3):
        print("usage: banyan-ask METHOD PATH [ADDRESS], such as: banyan-ask GET /readyz", file=sys.stderr)
        return 2
    method, path, *given = arguments
    address = given[0] if given else os.environ.get("BANYAN_ADMIN") or "127.0.0.1:9900"
    try:
        answer = ask(method, path, address)
    except (OSError, ValueError) as error:
        print(f"banyan-ask: {address}: {error}", file=sys.stderr)
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    sys.stdout.buffer.write(body)
    sys.stdout.flush()
    status = head.split(b" ", 2)[1:2]
    return 0 if status and status[0].startswith(b"2") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
