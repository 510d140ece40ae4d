"""Listening sockets: an address taken, or a line that says why not."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from gateway.config import parse_address


class BindError(Exception):
    """An address cannot be listened on. The message says which and what to do."""


def bind(address: str, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket, not blocking.

    Raises:
        BindError: it is taken, not ours, or not an address of this machine.
    """
    parsed = parse_address(address)
    if isinstance(parsed, str):
        _make_room(Path(parsed), address)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in parsed[0] else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(parsed)
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        sock.close()
        raise BindError(f"cannot listen on {address}: {why_not(error)}. Stop what uses it, or name another address") from error
    sock.setblocking(False)
    return sock


def _make_room(path: Path, address: str) -> None:
    """Removes the socket that a dead process left, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise BindError(f"cannot listen on {address}: {why_not(error)}. Name another path") from error
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on {address}: something that is not a socket is there. Remove it, or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise BindError(f"cannot listen on {address}: Address already in use. Stop what uses it, or name another address")


def why_not(error: OSError | OverflowError) -> str:
    """The reason alone: asyncio's own words for it hold addresses that were said already."""
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
