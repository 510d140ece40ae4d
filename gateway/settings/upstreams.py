"""[upstreams.NAME]: a place to send requests to."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from gateway.settings.addresses import parse_address
from gateway.settings.files import PemFile
from gateway.settings.section import Section
from gateway.units import Timeout


class UpstreamTls(Section):
    """How an https upstream proves who it is, and the gateway who it is."""

    ca: PemFile = ""
    """A PEM file with the authorities that its certificate may come from. By default those of the machine, or certifi's."""
    verify: bool = True
    """false: whoever answers is believed to be the upstream. Said at every start."""
    server_name: str = ""
    """The name that its certificate must have, and that it is asked for (SNI), if that is not the URL's host."""
    certificate: PemFile = ""
    """A PEM file: what the gateway shows to the upstream, if that wants to know. Read at start and at a reload."""
    key: PemFile = ""
    """A PEM file: that certificate's private key, not encrypted."""

    @model_validator(mode="after")
    def _together(self) -> UpstreamTls:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together: name both, or neither")
        if self.ca and not self.verify:
            raise ValueError("verify = false makes `ca` mean nothing: remove one of them")
        return self


class Upstream(Section):
    """A named place to send requests to."""

    url: str = ""
    """http://host:port, https://host:port, or unix:/path for a server that listens on a unix socket (edge engine only)."""
    urls: list[str] = []
    """Several of them in place of `url` (edge engine only): the one with the fewest requests pending is asked."""
    connect_timeout: Timeout = 1.0
    """How long opening a connection may take, the TLS handshake included."""
    response_timeout: Timeout = 5.0
    """How long the answer's head may take, counted from the last byte that was sent."""
    idempotent: bool = False
    """It executes the same Idempotency-Key once, however often it comes. So of a request with one that went unanswered it is asked again,
    and only this upstream: no other knows its keys."""
    tls: UpstreamTls = UpstreamTls()
    """For https."""

    @field_validator("urls")
    @classmethod
    def _urls(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("the same address is there twice")
        return [cls._url(each) for each in value]

    @model_validator(mode="after")
    def _one_or_several(self) -> Upstream:
        if bool(self.url) == bool(self.urls):
            raise ValueError('write either url = "http://host:port" or urls = ["http://host:port", …]')
        return self

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value.startswith("unix:"):
            parse_address(value)
            return value
        # It may hold a password, wherever that was put: nothing of it is repeated, not by urlsplit's own errors either.
        if "@" in value:
            raise ValueError('a user or a password cannot be part of it; write "http://host:port"')
        try:
            parts = urlsplit(value)
            possible = parts.port != 0
        except ValueError:
            possible = False
        if not possible:
            raise ValueError('its host or its port cannot be one; write "http://host:port" with a port from 1 to 65535')
        if parts.scheme not in ("http", "https"):
            raise ValueError('write "http://host:port", "https://host:port" or "unix:/path"')
        if not parts.hostname or " " in value or not value.isprintable():  # urlsplit drops line ends
            raise ValueError('its host cannot be one; write "http://host:port"')
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("only scheme, host and port belong in it; a route's `rewrite` changes paths")
        return value

    @model_validator(mode="after")
    def _tls_for_https(self) -> Upstream:
        kinds = {urlsplit(url).scheme == "https" for url in self.urls or [self.url]}
        if len(kinds) > 1:
            raise ValueError("either all of its addresses are https://, or none is")
        if self.tls != UpstreamTls() and not self.secure:
            raise ValueError('tls is for https, and its address is not; write "https://host:port"')
        return self

    @property
    def secure(self) -> bool:
        """Is it spoken to over TLS?"""
        return urlsplit((self.urls or [self.url])[0]).scheme == "https"

    @property
    def places(self) -> list[tuple[str, int, str]]:
        """All its addresses: (host, port, path of a unix socket). With a path, host and port are what Host would name."""
        return [_place(url) for url in self.urls or [self.url]]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, where it has one address and no socket."""
        return _host(self.url)

    @property
    def server_name(self) -> str:
        """The name that its certificate must have, where it has one address."""
        return self.tls.server_name or self.address[0]


def _host(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _place(url: str) -> tuple[str, int, str]:
    if url.startswith("unix:"):
        return "localhost", 80, url.removeprefix("unix:")
    return *_host(url), ""
