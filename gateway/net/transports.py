"""What asyncio's transports cannot do, or not the same way over TLS as without."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from typing import Any, Final

RESET: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing resets."""


def reset_at_close(transport: asyncio.Transport) -> None:
    """The connection will end with a reset, and with nothing more of what was written."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        # uvloop's own object does not set options; a duplicate is the same socket.
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def untaken(transport: asyncio.Transport) -> int:
    """Bytes written that the peer's machine does not have yet, or 1 for more than is known."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    # What waits in the process waits because the kernel's queue is full, so the kernel's word is enough.
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"), "little")
    except OSError:
        return 0


def pause_reading(transport: asyncio.Transport, secure: bool) -> None:
    """Reads no more, not even the end.

    Over TLS pausing alone lets uvloop go on reading, 256 KiB ahead; and when the end of the connection is among that, it throws away what
    nobody has read. With room for nothing it stops reading too.
    """
    transport.pause_reading()
    if secure:
        layer: Any = transport  # the methods of a TLS transport that the type checker does not know
        layer.set_read_buffer_limits(high=0)


def resume_reading(transport: asyncio.Transport, secure: bool) -> None:
    transport.resume_reading()
    if secure:
        layer: Any = transport
        layer.set_read_buffer_limits()
