"""The shape of banyan.toml: every section, key, default and rule, as immutable values.

An unknown key is an error: a misspelt `fallbck = false` must not become a default. Reading the file is config.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from gateway.units import Bytes, Seconds

SAFE_METHODS = ("GET", "HEAD")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SEGMENT = re.compile(r"[^{}*]*|\{[A-Za-z_][A-Za-z0-9_]*\}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """What one client may ask of a worker. Beyond it: 431, 413, 408."""

    header_bytes: Bytes = 32 * 1024
    headers: int = Field(default=100, ge=1, le=10_000)
    body_bytes: Bytes = 100 * 1024**2
    header_timeout: Seconds = 10.0
    idle_timeout: Seconds = 75.0
    drain_timeout: Seconds = 30.0


class Gateway(_Section):
    """Where the edge listens and whom it believes."""

    listen: list[str] = Field(default=["127.0.0.1:8080"], min_length=1)
    admin: str = "127.0.0.1:9900"
    workers: int = Field(default=0, ge=0, le=256)
    trusted_proxies: list[IPv4Network | IPv6Network] = []
    replay_buffer: Bytes = 64 * 1024
    expose_decision: bool = False
    access_log: str = "-"
    """"-" is standard output, "" is none, anything else a file's path."""
    limits: Limits = Limits()

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: list[str]) -> list[str]:
        for address in value:
            parse_address(address)
        return value

    @field_validator("admin")
    @classmethod
    def _admin(cls, value: str) -> str:
        address = parse_address(value)
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("the admin port has no token yet, so it may listen on loopback only: 127.0.0.1:PORT")
        return value


class Upstream(_Section):
    """A named place to send requests to."""

    url: str
    connect_timeout: Seconds = 1.0
    response_timeout: Seconds = 5.0

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "http":
            raise ValueError(f'write "http://host:port" (https and unix upstreams are not built yet), not {value!r}')
        if not parts.hostname:
            raise ValueError(f"no host in {value!r}")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError(f"only scheme, host and port belong in {value!r}; a route's `rewrite` changes paths")
        _ = parts.port  # raises ValueError when out of range
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80


class FlagSource(_Section):
    """Where the flags live."""

    source: Literal["file", "unleash"] = "file"
    path: str = "flags.json"
    url: str = ""
    token: SecretStr = SecretStr("")
    admin_token: SecretStr = SecretStr("")
    refresh: Seconds = 0.5
    """Unleash publishes changes once a second: asking twice as often keeps a flip under two seconds at the worst phase."""
    backup: str = "var/flags-backup.json"
    app_name: str = "banyan"
    environment: str = "development"

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
    path: str = Field(default="/_banyan/identity", pattern=r"^/[!-~]*\z")
    cookie: str = Field(default="sessionid", pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\z")
    cache: Seconds = 10.0
    negative_cache: Seconds = 2.0
    timeout: Seconds = 2.0
    entries: int = Field(default=100_000, ge=1)


class Compare(_Section):
    """The reviewed instructions to the comparison that live in the file."""

    ignore: list[str] = []
    unordered: list[str] = []
    key: dict[str, str] = {}
    tolerance: dict[str, float] = {}
    headers: list[str] = ["content-type", "cache-control", "location"]


class RouteShadow(_Section):
    """What of a route's traffic is compared."""

    sample: float = Field(default=1.0, ge=0, le=1)
    methods: list[str] = list(SAFE_METHODS)
    capture: Bytes = 256 * 1024
    noise: float = Field(default=0.0, ge=0, le=1)
    compare: Compare = Compare()

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
    match: float = Field(default=0.999, gt=0, le=1)


class Route(_Section):
    """One API: methods and path, its candidate, its flags and rules."""

    name: str
    match: str
    methods: list[str] = []
    candidate: str
    rewrite: str | None = None
    host: str | None = None
    flag: str | None = None
    fallback: bool = True
    shadow: RouteShadow = RouteShadow()
    gate: Gate = Gate()

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
    database: str = "sqlite:///var/banyan.sqlite3"
    redact: list[str] = ["authorization", "cookie", "set-cookie", "$..password", "$..email", "$..phone"]
    retention: Seconds = 14 * 86400.0
    timeout: Seconds = 5.0
    concurrency: int = Field(default=64, ge=1)
    """Mirrored requests under way at once, per worker and route."""
    queue: int = Field(default=2000, ge=1)
    """Exchanges waiting for the shipper, per worker."""
    queue_bytes: Bytes = 32 * 1024**2


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
