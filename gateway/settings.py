"""The shape of banyan.toml: every section, key, default and rule, as immutable values.

An unknown key is an error: a misspelt `fallbck = false` must not become a default. Reading the file is config.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from flags import names
from flags.source import check_token, check_url
from gateway.units import Bytes, Seconds
from shadow.database import settings as database_settings
from shadow.paths import PatternSet
from shadow.redact import Redactor

SAFE_METHODS = ("GET", "HEAD")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OFTENEST = 0.05
"""Seconds between two looks at Unleash."""
_SEGMENT = re.compile(r"[^{}*]*|\{[A-Za-z_][A-Za-z0-9_]*\}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Limits(_Section):
    """What one client may ask of a worker. Beyond it: 431, 413, 408."""

    header_bytes: Bytes = 32 * 1024
    """A head longer than this is answered 431."""
    headers: int = Field(default=100, ge=1, le=10_000)
    """More header fields than this are answered 431."""
    body_bytes: Bytes = 100 * 1024**2
    """A request body longer than this is answered 413."""
    header_timeout: Seconds = 10.0
    """A head that was begun and not finished in this time is answered 408."""
    idle_timeout: Seconds = 75.0
    """A client connection without a request for this long is closed."""
    drain_timeout: Seconds = 30.0
    """After SIGTERM, requests in flight have this long to be answered."""


class Certificate(_Section):
    """What the gateway shows to clients."""

    certificate: str
    """A PEM file: the certificate, and after it those that lead to its authority. One table, tls = { certificate = …, key = … }, or a list
    of such: each client sees the one with the name that it asks for (SNI; *.name stands for one label), or the first."""
    key: str
    """A PEM file: the certificate's private key, not encrypted. Both files are watched: a new certificate is shown within two seconds and
    no connection notices; a broken one leaves the old one in place."""


class Gateway(_Section):
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
    """A request body up to this size can be sent again: to legacy as a fallback, or to the shadow."""
    expose_decision: bool = False
    """Adds Banyan-Route to every answer: which route, who served, why. A trusted proxy always gets it."""
    access_log: str = "-"
    """"-" is standard output, "" is none, anything else a file's path."""
    tls: list[Certificate] = []
    """The certificates that clients see."""
    limits: Limits = Limits()
    """What one client may ask of a worker."""

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: list[str]) -> list[str]:
        for address in value:
            parse_address(_without_scheme(address))
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
        if self.proxy_protocol and any(secure for _, secure in self.addresses):
            raise ValueError(
                "proxy_protocol comes before a TLS handshake, where it is not read: write the address that proxies connect to as "
                "http://host:port, or remove one of proxy_protocol and tls"
            )
        return self

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """(address without its scheme, does it speak TLS?), in the order of `listen`."""
        return [(_without_scheme(address), bool(self.tls) and not address.startswith(("http://", "unix:"))) for address in self.listen]

    @field_validator("admin")
    @classmethod
    def _admin(cls, value: str) -> str:
        address = parse_address(value)
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("the admin port has no token yet, so it may listen on loopback only: 127.0.0.1:PORT")
        return value


class UpstreamTls(_Section):
    """How an https upstream proves who it is, and the gateway who it is."""

    ca: str = ""
    """A PEM file with the authorities that its certificate may come from. By default those of the machine, or certifi's."""
    verify: bool = True
    """false: whoever answers is believed to be the upstream. Said at every start."""
    server_name: str = ""
    """The name that its certificate must have, and that it is asked for (SNI), if that is not the URL's host."""
    certificate: str = ""
    """A PEM file: what the gateway shows to the upstream, if that wants to know. Read at start and at a reload."""
    key: str = ""
    """A PEM file: that certificate's private key, not encrypted."""

    @model_validator(mode="after")
    def _together(self) -> UpstreamTls:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together: name both, or neither")
        if self.ca and not self.verify:
            raise ValueError("verify = false makes `ca` mean nothing: remove one of them")
        return self


class Upstream(_Section):
    """A named place to send requests to."""

    url: str = ""
    """http://host:port, https://host:port, or unix:/path for a server that listens on a unix socket (edge engine only)."""
    urls: list[str] = []
    """Several of them in place of `url` (edge engine only): the one with the fewest requests pending is asked."""
    connect_timeout: Seconds = 1.0
    """How long opening a connection may take, the TLS handshake included."""
    response_timeout: Seconds = 5.0
    """How long the answer's head may take, counted from the last byte that was sent."""
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


class FlagSource(_Section):
    """Where the flags live."""

    source: Literal["file", "unleash"] = "file"
    """Where the flags live."""
    path: str = "flags.json"
    """file: Unleash's own client-features JSON, watched for changes."""
    url: str = ""
    """unleash: its API, such as http://127.0.0.1:4242/api."""
    token: SecretStr = SecretStr("")
    """unleash: a client token. Write ${NAME} to read it from the environment."""
    admin_token: SecretStr = SecretStr("")
    """unleash: an admin token; only for `banyan flags`."""
    refresh: Seconds = 0.5
    """Unleash publishes changes once a second: asking twice as often keeps a flip under two seconds at the worst phase."""
    backup: str = "var/flags-backup.json"
    """unleash: the last good state, used when Unleash is down at start."""
    app_name: str = "banyan"
    """Unleash's appName."""
    environment: str = "development"
    """Unleash's environment."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("source") == "unleash":
            check_url(value)
        return value

    @field_validator("token", "admin_token")
    @classmethod
    def _token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and info.data.get("source") == "unleash":
            check_token(value.get_secret_value(), f"flags.{info.field_name}")
        return value

    @field_validator("refresh")
    @classmethod
    def _refresh(cls, value: float) -> float:
        if value < _OFTENEST:
            raise ValueError('nobody can ask Unleash that often; write "50ms" or more')
        return value

    @model_validator(mode="after")
    def _complete(self) -> FlagSource:
        if self.source == "unleash" and not (self.url and self.token.get_secret_value()):
            raise ValueError(
                'source = "unleash" needs url and token, such as url = "http://127.0.0.1:4242/api", token = "${UNLEASH_TOKEN}"'
            )
        return self


class Identity(_Section):
    """Who is calling, as far as the flags need to know."""

    source: Literal["none", "introspection"] = "none"
    """none: everybody is anonymous. introspection: legacy is asked who a session belongs to."""
    path: str = "/_banyan/identity"
    """Where legacy answers who is calling (legacy_django/banyan_identity)."""
    cookie: str = "sessionid"
    """The session cookie's name."""
    cache: Seconds = 10.0
    """How long an answer is remembered."""
    negative_cache: Seconds = 2.0
    """How long it is remembered that a session belongs to nobody."""
    timeout: Seconds = 2.0
    """How long legacy may take to say; after that the caller is anonymous for this request."""
    entries: int = Field(default=100_000, ge=1)
    """Answers that are remembered at the most."""

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(r"/[!-~]*", value):
            raise ValueError('write a path that starts with / and has no spaces, such as "/_banyan/identity"')
        return value

    @field_validator("cookie")
    @classmethod
    def _cookie(cls, value: str) -> str:
        if not _TOKEN.fullmatch(value):
            raise ValueError('write a cookie\'s name, such as "sessionid"')
        return value


class Compare(_Section):
    """The reviewed instructions to the comparison that live in the file."""

    ignore: list[str] = []
    """Paths that are not compared, such as $.generated_at or $.items[*].updated."""
    unordered: list[str] = []
    """Lists whose order means nothing."""
    key: dict[str, str] = {}
    """Lists whose elements are aligned by a field: { "$.items" = "id" }."""
    tolerance: dict[str, float] = {}
    """Numbers that may differ by this much: { "$.score" = 0.001 }."""
    headers: list[str] = ["content-type", "cache-control", "location"]
    """Response headers that are compared."""

    @field_validator("ignore", "unordered")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        PatternSet.parse(value)
        return value

    @field_validator("key", "tolerance")
    @classmethod
    def _keyed[T](cls, value: dict[str, T]) -> dict[str, T]:
        PatternSet.parse(list(value))
        return value


class RouteShadow(_Section):
    """What of a route's traffic is compared."""

    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the eligible requests that is compared."""
    methods: list[str] = list(SAFE_METHODS)
    """Only GET and HEAD."""
    capture: Bytes = 256 * 1024
    """An answer whose body is longer is not compared, and counted as skipped."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Share of the shadowed requests that is also sent to legacy a second time."""
    compare: Compare = Compare()
    """The rules of the comparison."""

    @field_validator("methods")
    @classmethod
    def _safe(cls, value: list[str]) -> list[str]:
        unsafe = [method for method in value if method not in SAFE_METHODS]
        if unsafe:
            raise ValueError(f"only GET and HEAD are shadowed (sandboxed writes are not built yet); remove {', '.join(unsafe)}")
        return value


class Gate(_Section):
    """When a route may be promoted."""

    minimum: int = Field(default=1000, ge=1)
    """Comparisons that the gate needs."""
    match: float = Field(default=0.999, gt=0, le=1)
    """What the lower bound of the match rate (Wilson, 95 %) must reach."""


class Route(_Section):
    """One API: methods and path, its candidate, its flags and rules."""

    name: str
    """Unique; also the name of its flag."""
    match: str
    """The path: segments, {name} for one, * for the rest. The most specific pattern wins."""
    methods: list[str] = []
    """Empty: every method."""
    candidate: str
    """The upstream that is to take the route over."""
    rewrite: str | None = None
    """The candidate's own path, with the names and the * of `match`."""
    host: str | None = None
    """The Host that the candidate gets; by default the client's."""
    flag: str | None = None
    """The flag's name, if it is not the route's; `<flag>.shadow` turns comparing on."""
    fallback: bool = True
    """When the candidate fails, legacy answers, where that cannot execute anything twice."""
    shadow: RouteShadow = RouteShadow()
    """What of the traffic is compared."""
    gate: Gate = Gate()
    """When the route may be promoted."""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"a name is lower-case letters, digits, '.', '_' and '-', at most 100: {value!r} is not")
        return value

    @field_validator("match", "rewrite")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None:
            _check_pattern(value)
        return value

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: list[str]) -> list[str]:
        for method in value:
            if not _TOKEN.fullmatch(method) or method != method.upper():
                raise ValueError(f"methods are upper-case tokens such as GET: {method!r} is not")
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?", value):
            raise ValueError(f"a host is a name or address with an optional port: {value!r} is not")
        return value

    @model_validator(mode="after")
    def _rewritable(self) -> Route:
        if self.rewrite is not None:
            known = set(re.findall(r"\{(\w+)\}", self.match))
            unknown = sorted(set(re.findall(r"\{(\w+)\}", self.rewrite)) - known)
            if unknown:
                raise ValueError(f"rewrite uses {{{unknown[0]}}}, which match = {self.match!r} does not have")
            if self.rewrite.endswith("*") and not self.match.endswith("*"):
                raise ValueError(f"rewrite ends in * but match = {self.match!r} does not")
        return self

    @model_validator(mode="after")
    def _switchable(self) -> Route:
        for flag in (self.serve_flag, self.shadow_flag):
            if not names.possible(flag):
                raise ValueError(f"{flag!r}, which is to be its flag, cannot be a flag's name: {names.RULE}")
        return self

    @property
    def serve_flag(self) -> str:
        """On: the candidate answers."""
        return self.flag or self.name

    @property
    def shadow_flag(self) -> str:
        """On: the answers are compared."""
        return f"{self.serve_flag}.shadow"


class Shadow(_Section):
    """Where exchanges go and what of them is kept."""

    sink: Literal["local"] = "local"
    """local: compared in the shipper on this machine."""
    database: str = "sqlite:///var/banyan.sqlite3"
    """Where verdicts go: sqlite:///path (relative to this file) or postgres://…"""
    redact: list[str] = ["authorization", "cookie", "set-cookie", "$..password", "$..email", "$..phone"]
    """Header names, and JSON paths such as $..password, whose values become keyed hashes before anything is stored."""
    retention: Seconds = 14 * 86400.0
    """Samples and counts older than this are deleted."""
    timeout: Seconds = 5.0
    """How long a mirrored request may take."""
    concurrency: int = Field(default=64, ge=1)
    """Mirrored requests under way at once, per worker and route."""
    queue: int = Field(default=2000, ge=1)
    """Exchanges waiting for the shipper, per worker."""
    queue_bytes: Bytes = 32 * 1024**2
    """The same in bytes."""

    @field_validator("redact")
    @classmethod
    def _redact(cls, value: list[str]) -> list[str]:
        Redactor(value, b"")
        return value

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        database_settings(value, Path())
        return value


class Config(_Section):
    """The whole file."""

    gateway: Gateway = Gateway()
    upstreams: dict[str, Upstream]
    flags: FlagSource = FlagSource()
    identity: Identity = Identity()
    routes: list[Route] = []
    shadow: Shadow = Shadow()
    _path: Path = PrivateAttr(default=Path("banyan.toml"))

    @field_validator("upstreams", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: {"url": item} if isinstance(item, str) else item for name, item in value.items()}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if "legacy" not in self.upstreams:
            raise ValueError('upstreams.legacy is missing: add  legacy = "http://host:port"  under [upstreams]')
        seen: dict[str, str] = {}
        patterns: dict[tuple[str, str], str] = {}
        for route in self.routes:
            if route.candidate not in self.upstreams:
                known = ", ".join(sorted(self.upstreams))
                raise ValueError(f"route {route.name!r}: candidate {route.candidate!r} is not under [upstreams] (there: {known})")
            if route.candidate == "legacy":
                raise ValueError(f"route {route.name!r}: the candidate cannot be legacy itself")
            if route.name in seen:
                raise ValueError(f"two routes are named {route.name!r}: names are flags, give each its own")
            seen[route.name] = route.match
            for method in route.methods or ["*"]:
                key = (method, re.sub(r"\{\w+\}", "{}", route.match))
                if key in patterns:
                    raise ValueError(f"routes {patterns[key]!r} and {route.name!r} match the same requests: {method} {route.match}")
                patterns[key] = route.name
        return self

    @property
    def path(self) -> Path:
        """The file that this came from."""
        return self._path

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self._path.parent

    def resolve(self, path: str) -> Path:
        """A path as written in the file, made absolute."""
        return (self.folder / path).absolute()


def parse_address(text: str) -> tuple[str, int] | str:
    """("127.0.0.1", 8080) for "127.0.0.1:8080" or "[::1]:8080"; the path for "unix:/path".

    Raises:
        ValueError: it is neither.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f'write an absolute path, "unix:/run/banyan.sock", not {text!r}')
        return path
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
        raise ValueError(f'write "host:port", "[::]:port" or "unix:/path", not {text!r}')
    return bare, int(port)


def _is_network(value: object) -> bool:
    if not isinstance(value, str):  # pydantic takes numbers too: 10 as 0.0.0.10/32
        return False
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def _without_scheme(address: str) -> str:
    return address.removeprefix("http://").removeprefix("https://")


def _check_pattern(pattern: str) -> None:
    if not pattern.startswith("/"):
        raise ValueError(f"a path starts with /: {pattern!r} does not")
    segments = pattern[1:].split("/")
    for index, segment in enumerate(segments):
        if segment == "*" and index == len(segments) - 1:
            continue
        if not _SEGMENT.fullmatch(segment):
            raise ValueError(f"in {pattern!r}, {segment!r} is not a segment: plain text, {{name}}, or * at the very end")
        if segment in (".", "..") or "%" in segment or "?" in segment or "#" in segment:
            raise ValueError(f"in {pattern!r}, {segment!r} can never match: paths are matched as they stand, without dots, % or queries")
