"""Listening sockets: an address taken, or a line that says why not."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from gateway.config import parse_address


class BindError(Exception):
    """An address cannot be listened on. The message says which and what to do."""


class Sockets:
    """The listening sockets of a gateway: one for each worker and address, and the admin port's.

    Raises:
        BindError: an address cannot be had.
    """

    def __init__(self, addresses: Iterable[str], admin: str, *, workers: int) -> None:
        self.workers: list[list[socket.socket]] = [[] for _ in range(workers)]
        """Each worker's, in the order of the addresses."""
        self.addresses: list[str] = []
        """Those that were taken, with their ports."""
        for address in addresses:
            parsed = parse_address(address)
            if isinstance(parsed, tuple):
                # First without SO_REUSEPORT: with it, a second gateway of the same user would silently share the port.
                probe = bind(address)
                port = probe.getsockname()[1]
                probe.close()
                shown = f"[{parsed[0]}]" if ":" in parsed[0] else parsed[0]
                taken = f"{shown}:{port}"
                for sockets in self.workers:
                    sockets.append(bind(taken, reuse_port=True))
                self.addresses.append(taken)
            else:
                shared = bind(address)
                for sockets in self.workers:
                    sockets.append(shared)
                self.addresses.append(address)
        self.admin = bind(admin)
        self.admin_address = admin if self.admin.family == socket.AF_UNIX else "{}:{}".format(*self.admin.getsockname()[:2])

    def shut(self) -> None:
        """Nothing new comes into the queues of connections, so that the workers can empty them.

        Raises:
            OSError: this system has no socket filters.
        """
        for sock in {id(sock): sock for sockets in self.workers for sock in sockets}.values():
            shut(sock)

    def stop(self) -> None:
        """Clients are refused, as far as this process goes."""
        for sockets in self.workers:
            for sock in sockets:
                sock.close()

    def close(self) -> None:
        """Ends all of them, the admin port's too, and removes what unix sockets leave behind."""
        self.stop()
        self.admin.close()
        for address in self.addresses:
            if isinstance(parsed := parse_address(address), str):
                Path(parsed).unlink(missing_ok=True)


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


def shut(sock: socket.socket) -> None:
    """From now on no connection is begun here, for whoever holds this socket; those that wait in its queue or are in the middle of their
    handshake still come in. So the queue can be emptied before it is closed: closing resets what is in it.

    TCP: SYNs are thrown away. Whoever sent one tries again after a second (RFC 6298, 2.1) and is refused by then, which is a clear word: a
    client that is reset cannot know whether it was heard. A unix socket loses its name.

    Raises:
        OSError: this system has no socket filters.
    """
    if sock.family == socket.AF_UNIX:
        Path(sock.getsockname()).unlink(missing_ok=True)
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program)))


_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
_NO_SYN = (
    # A classic BPF program (linux/filter.h), which sees a packet from its TCP header on: code, jump if true, jump if false, value.
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # yes: nothing of it is kept
    (0x06, 0, 0, 0xFFFFFFFF),  # no: all of it is
)


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
