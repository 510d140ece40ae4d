"""Who is believed about whom."""

import pytest

from gateway.policy.forwarded import client

TRUSTED = {"10.0.0.1", "10.0.0.2", "::1"}


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", [b"9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", [b"9.9.9.9", b"10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", [b"6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),  # what the client itself wrote before it
        ("10.0.0.1", [b"10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"9.9.9.9, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"9.9.9.9:4711"], "9.9.9.9"),
        ("::1", [b"[2001:DB8::1]:80"], "2001:db8::1"),
        ("::1", [b"2001:db8::1"], "2001:db8::1"),
        ("::1", [b"::ffff:9.9.9.9"], "9.9.9.9"),  # as a proxy that listens on IPv6 writes an IPv4 client
        ("::1", [b"9.9.9.9, ::ffff:10.0.0.2"], "9.9.9.9"),
        ("8.8.8.8", [b"9.9.9.9"], "8.8.8.8"),
        ("10.0.0.1", [b"9.9.9.9, " + b"10.0.0.2, " * 40 + b"10.0.0.2"], "10.0.0.2"),  # bounded
        ("10.0.0.1", [b'"><script>'], "10.0.0.1"),
        ("10.0.0.1", [b'fe80::1%"x'], "10.0.0.1"),
        ("10.0.0.1", [b"fe80::1%\tx, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b'[fe80::1%"x]:80'], "10.0.0.1"),
        ("10.0.0.1", [b"fe80::1%eth0"], "10.0.0.1"),
    ],
)
def test_the_last_that_a_trusted_proxy_vouches_for(peer: str, values: list[bytes], expected: str) -> None:
    assert client(peer, values, lambda address: address in TRUSTED) == expected
