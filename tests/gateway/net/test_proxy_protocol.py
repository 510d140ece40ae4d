"""Whom a balancer speaks for: both versions, in one piece and byte by byte, and nothing else."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.proxy_protocol import MAX_V1, SIGNATURE, ProxyError, read


def v2(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    body = addresses + more
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


IPV4 = socket.inet_aton("9.9.9.9") + socket.inet_aton("127.0.0.1") + b"\x1f\x90\x1f\x91"
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::9") + bytes(16) + b"\x1f\x90\x1f\x91"


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (b"PROXY TCP4 9.9.9.9 127.0.0.1 40000 8080\r\n", "9.9.9.9"),
        (b"PROXY TCP6 2001:DB8::9 ::1 40000 8080\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n", None),
        (v2(0x21, 0x11, IPV4), "9.9.9.9"),
        (v2(0x21, 0x21, IPV6), "2001:db8::9"),
        (v2(0x21, 0x11, IPV4, b"\x04\x00\x03abc"), "9.9.9.9"),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, IPV4), None),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x31, bytes(216)), None),
    ],
)
def test_the_address_and_where_the_request_begins(data: bytes, address: str | None) -> None:
    assert read(data + b"GET / HTTP/1.1\r\n") == (address, len(data))
    assert [read(data[:size]) for size in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY\r\n",
        b"PROXY TCP4 9.9.9.9 127.0.0.1 40000\r\n",
        b"PROXY TCP4 999.9.9.9 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 9.9.9.9  127.0.0.1 1 2\r\n",
        b"PROXY TCP6 9.9.9.9 ::1 1 2\r\n",
        b"PROXY TCP5 ::1 ::1 1 2\r\n",
        b"proxy TCP4 9.9.9.9 127.0.0.1 1 2\r\n",
        b"PROXY UNKNOWN" + b" x" * MAX_V1,
        b"PROXY UNKNOWN" + b" x" * MAX_V1 + b"\r\n",
        v2(0x31, 0x11, IPV4),
        v2(0x22, 0x11, IPV4),
        v2(0x21, 0x11, IPV4[:8]),
        v2(0x21, 0x41, IPV4),
        v2(0x21, 0x11, IPV4, bytes(600)),
        b"\r\n\r\n\x00\r\nQUIX\n",
    ],
)
def test_what_does_not_begin_so_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read(data)


@given(st.binary(max_size=80), st.sampled_from([b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "]))
def test_junk_is_refused_or_waited_for(junk: bytes, start: bytes) -> None:
    try:
        found = read(start + junk)
    except ProxyError:
        return
    assert found is None or found[1] <= len(start + junk)
