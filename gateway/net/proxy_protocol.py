"""Whom a load balancer has a connection from, told in front of it: the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt).

Read from trusted peers only, and from those always: a connection of theirs that does not begin with it is refused, because an address that
may or may not be told is one that anybody can forge by telling it himself (section 2).
"""

from __future__ import annotations

import re
import socket
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_V1: Final = 107
"""Bytes of a line of version 1, with its CRLF."""
MAX_V2: Final = 16 + 536
"""Bytes of version 2 with what else it may tell: the specification asks receivers for this much."""
_V1: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|TCP4 ([0-9.]{7,15}) [0-9.]{7,15} [0-9]{1,5} [0-9]{1,5}"
    rb"|TCP6 ([0-9a-fA-F:.]{2,45}) [0-9a-fA-F:.]{2,45} [0-9]{1,5} [0-9]{1,5})\r\n"
)


class ProxyError(Exception):
    """The connection does not begin as the PROXY protocol has it."""


def read(data: bytes) -> tuple[str | None, int] | None:
    """(the client's address, bytes that told it); address None: it tells none, or the balancer speaks for itself, such as to ask
    whether we live: nothing that is said there is to be believed. None: more has to come.

    Raises:
        ProxyError: this is no PROXY header.
    """
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if SIGNATURE.startswith(data) or b"PROXY ".startswith(data[:6]):
        if b"\r\n" not in data or SIGNATURE.startswith(data):
            if len(data) > MAX_V1:
                raise ProxyError
            return None
        return _version_1(data)
    raise ProxyError


def _version_1(data: bytes) -> tuple[str | None, int]:
    found = _V1.match(data)
    if found is None or found.end() > MAX_V1:
        raise ProxyError
    if found[1] is not None:
        return _text(socket.AF_INET, found[1]), found.end()
    if found[2] is not None:
        return _text(socket.AF_INET6, found[2]), found.end()
    return None, found.end()


def _text(family: socket.AddressFamily, address: bytes) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, address.decode("ascii")))
    except OSError:
        raise ProxyError from None


def _version_2(data: bytes) -> tuple[str | None, int] | None:
    if len(data) < 16:
        return None
    version, family = data[12], data[13]
    size = 16 + int.from_bytes(data[14:16])
    if version not in (0x20, 0x21) or size > MAX_V2:
        raise ProxyError
    if len(data) < size:
        return None
    if version == 0x20:  # LOCAL
        return None, size
    if family == 0x11 and size >= 16 + 12:
        return socket.inet_ntop(socket.AF_INET, data[16:20]), size
    if family == 0x21 and size >= 16 + 36:
        return socket.inet_ntop(socket.AF_INET6, data[16:32]), size
    if family in (0x00, 0x31, 0x32, 0x12, 0x22):
        return None, size  # unspecified, unix or UDP: nothing that is an address of a client of ours
    raise ProxyError
