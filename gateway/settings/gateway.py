"""[gateway]: where the edge listens, whom it believes, and what one client may ask of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gateway.settings.addresses import parse_address, without_scheme
from gateway.settings.files import PemFile
from gateway.settings.section import Section
from gateway.units import Bytes, Timeout

_SMALLEST_HEAD = 1024
"""Bytes."""


class Limits(Section):
    """What one client may ask of a worker, and how many may ask. Beyond it: 431, 413, 503, 408."""

    header_bytes: Bytes = 32 * 1024
    """A head longer than this is answered 431. At least 1KiB."""
    headers: int = Field(default=100, ge=1, le=10_000)
    """More header fields than this are answered 431."""
    body_bytes: Bytes = 100 * 1024**2
    """A request body longer than this is answered 413; with 0, every body."""
    connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """Open client connections, shared out evenly among the workers; fewer where open files (ulimit -Hn) do not suffice for two each. One
    more takes the place of the one that has been idle longest; where none is idle it is answered 503. Only the edge engine reads it."""
    header_timeout: Timeout = 10.0
    """A head that was begun and not finished in this time is answered 408."""
    idle_timeout: Timeout = 75.0
    """A client connection without a request for this long is closed."""
    drain_timeout: Timeout = 30.0
    """After SIGTERM the gateway ends within this time. All but the last 3 s (a quarter, where that is less) is for requests in flight to be
    answered in; who is not, is told so. It has to be shorter than the patience of whoever sends SIGKILL afterwards."""

    @field_validator("header_bytes")
    @classmethod
    def _header_bytes(cls, value: int) -> int:
        if value < _SMALLEST_HEAD:
            raise ValueError('no browser\'s head is that short; write "1KiB" or more')
        return value


class Certificate(Section):
    """What the gateway shows to clients."""

    certificate: PemFile
    """A PEM file: the certificate, and after it those that lead to its authority. One table, tls = { certificate = …, key = … }, or a list
    of such: each client sees the one with the name that it asks for (SNI; *.name stands for one label), or the first."""
    key: PemFile
    """A PEM file: the certificate's private key, not encrypted. Both files are watched: a new certificate is shown within two seconds and
    no connection notices; a broken one leaves the old one in place."""


class Gateway(Section):
    """Where the edge listens and whom it believes."""

    listen: list[str] = Field(default=["127.0.0.1:8080"], min_length=1)
    """host:port, [::]:port or unix:/path; several are allowed; port 0 takes a free one. With `tls`, host:port speaks TLS (1.2 and newer),
    unless it is written http://host:port; unix: never does."""
    admin: str = "127.0.0.1:9900"
    """The admin port: health, metrics, routes, flags. Loopback only."""
    workers: int = Field(default=0, ge=0, le=256)
    """Edge workers; 0 is one for each core that this process may use."""
    trusted_proxies: list[IPv4Network | IPv6Network | Literal["unix"]] = []
    """CIDRs of the proxies in front whose Forwarded and X-Forwarded-* fields, X-Request-ID and traceparent are believed; "unix": those that
    come over a unix socket."""
    proxy_protocol: bool = False
    """Trusted proxies begin each connection with the PROXY protocol, version 1 or 2; one of theirs that does not is refused. Only the edge
    engine reads it."""
    replay_buffer: Bytes = 64 * 1024
    """A request body up to this size can be sent again: to legacy as a fallback, or to the shadow. Where
    Content-Length says that it is no longer, no upstream is asked before it is there (edge engine)."""
    expose_decision: bool = False
    """Adds Banyan-Route to every answer: which route, who served, why. A trusted proxy always gets it."""
    access_log: str = "-"
    """"-" is standard output, "" is none, anything else a file's path."""
    tls: list[Certificate] = []
    """The certificates that clients see."""
    http2: bool = False
    """Clients that come over TLS may choose HTTP/2 (docs/reference/http2.md)."""
    http3: bool = False
    """Clients may come by HTTP/3, over UDP at the addresses that speak TLS. The mitmproxy engine alone speaks it, with one worker
    (docs/reference/engines.md)."""
    limits: Limits = Limits()
    """What one client may ask of a worker."""

    @property
    def processes(self) -> int:
        """How many workers there are."""
        return self.workers or len(os.sched_getaffinity(0))

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: list[str]) -> list[str]:
        for address in value:
            parse_address(without_scheme(address))
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _trusted_proxies(cls, value: object) -> object:
        for item in value if isinstance(value, list) else []:
            if item != "unix" and not _is_network(item):
                raise ValueError(f'write networks such as "10.0.0.0/8" or "::1/128", or "unix": {item!r} is none')
        return value

    @field_validator("tls", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _certified(self) -> Gateway:
        for address in self.listen:
            if address.startswith("https://") and not self.tls:
                raise ValueError(f'{address!r} needs a certificate: add  tls = {{ certificate = "cert.pem", key = "key.pem" }}')
        if self.http2 and not any(secure for _, secure in self.addresses):
            raise ValueError(
                "http2 is chosen in the TLS handshake, and no address speaks TLS: add  "
                'tls = { certificate = "cert.pem", key = "key.pem" }  or remove http2'
            )
        if self.http3 and not any(secure for _, secure in self.addresses):
            raise ValueError(
                'http3 has TLS in it, and no address speaks TLS: add  tls = { certificate = "cert.pem", key = "key.pem" }  or remove http3'
            )
        if self.proxy_protocol and any(secure for _, secure in self.addresses):
            raise ValueError(
                "proxy_protocol comes before a TLS handshake, where it is not read: write the address that proxies connect to as "
                "http://host:port, or remove one of proxy_protocol and tls"
            )
        return self

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """(address without its scheme, does it speak TLS?), in the order of `listen`."""
        return [(without_scheme(address), bool(self.tls) and not address.startswith(("http://", "unix:"))) for address in self.listen]

    @field_validator("admin")
    @classmethod
    def _admin(cls, value: str) -> str:
        address = parse_address(value)
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("the admin port has no token yet, so it may listen on loopback only: 127.0.0.1:PORT")
        return value


def _is_network(value: object) -> bool:
    if not isinstance(value, str):  # pydantic takes numbers too: 10 as 0.0.0.10/32
        return False
    try:
        ip_network(value)
    except ValueError:
        return False
    return True
