"""A listening socket that is shut: nothing new comes in, and nobody who was let in is reset."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from gateway.listening import bind, shut


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_what_waits_comes_in_and_what_comes_later_is_refused(address: str) -> None:
    with bind(address) as listening, socket.create_connection(listening.getsockname()[:2], 5) as early:
        listening.settimeout(5)
        shut(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname()[:2], 0.3)
        accepted, _ = listening.accept()
        with accepted:
            early.sendall(b"asked")
            assert accepted.recv(10) == b"asked"
            closing = threading.Timer(0.2, listening.close)
            closing.start()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(listening.getsockname()[:2], 5)
            closing.join()
            accepted.sendall(b"answered")
            assert early.recv(10) == b"answered"


def test_a_unix_socket_loses_its_name(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind(f"unix:{path}") as listening, socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as late:
        early.connect(str(path))
        shut(listening)
        with pytest.raises(FileNotFoundError):
            late.connect(str(path))
        listening.settimeout(5)
        listening.accept()[0].close()
