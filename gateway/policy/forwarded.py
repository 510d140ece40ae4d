"""Who the client is, where trusted proxies stand between it and the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address

MAX_HOPS = 32
"""Addresses that are looked at."""


def client(peer: str, forwarded_for: Iterable[bytes], trusts: Callable[[str], bool]) -> str:
    """The address that the nearest trusted proxy has the request from, and so on as long as that is a trusted one too.

    `forwarded_for`: the values of X-Forwarded-For in their order. Each proxy adds at the end whom it has the request from, so what stands
    before the first address that is not trusted was written by nobody who could be believed. What is no address ends the walk.
    """
    found = peer
    if not trusts(peer):
        return found
    hops = b",".join(forwarded_for).split(b",")
    for hop in reversed(hops[-MAX_HOPS:]):
        address = _address(hop.strip(b" \t").decode("latin-1"))
        if address is None:
            break
        found = address
        if not trusts(found):
            break
    return found


def unmapped(host: str) -> str:
    """An IPv4 client as IPv4: where IPv6 sockets take both, the system writes it ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)."""
    if ":" not in host:
        return host
    try:
        mapped = IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def _address(text: str) -> str | None:
    """`text` as an IP address, without the port that some proxies add. One with a zone is no client's: it means something on one machine
    only, and a zone may hold anything, quotes and tabs too (RFC 4007, 11.2)."""
    if "%" in text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return unmapped(str(ip_address(text)))  # a proxy that listens on IPv6 writes IPv4 clients like that too
    except ValueError:
        return None
