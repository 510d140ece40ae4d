"""banyan.toml, validated whole: either a Config that everything may rely on, or one ConfigError with every mistake in it.

Nothing starts on a file that has one unknown key: a misspelt `fallbck = false` must not become a default. Keys of the design that
this version does not carry out yet are refused too, by name: a limit that is read and then ignored would be a lie.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator

from gateway.units import Bytes, Seconds

SAFE_METHODS = ("GET", "HEAD")

PLANNED = {
    "gateway.tls": "TLS to clients",
    "gateway.limits.connections": "a connection limit",
    "upstreams.*.urls": "several addresses for one upstream",
    "upstreams.*.concurrency": "concurrency limits",
    "upstreams.*.breaker": "breakers",
    "upstreams.*.health": "health checks",
    "upstreams.*.idempotent": "idempotent upstreams",
    "identity.stamp": "the identity stamp",
    "routes.*.priority": "shedding by priority",
    "routes.*.rate_limit": "rate limits",
    "routes.*.identity": "identity by route",
    "routes.*.guard": "the guard",
    "routes.*.split": "split routes",
    "routes.*.sticky": "split routes",
    "routes.*.failover": "split routes",
    "routes.*.require_key": "split routes",
    "routes.*.shadow.sandbox": "shadowing of writes",
    "shadow.nats": "JetStream",
    "domains": "calls between domains",
}
"""Keys of the design without code behind them yet, and what they will do."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEGMENT = re.compile(r"[^{}*]*|\{[A-Za-z_][A-Za-z0-9_]*\}")


class ConfigError(Exception):
    """The file cannot be used. `problems` holds one line for each mistake: what, where, and what would be right."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


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
    refresh: Seconds = 1.0
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
    path: str = Field(default="/_banyan/identity", pattern=r"^/[!-~]*\Z")
    cookie: str = Field(default="sessionid", pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
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


def load(path: str | Path) -> Config:
    """Reads and validates `path`.

    Raises:
        ConfigError: it cannot be read, is not TOML, or anything in it is wrong; every mistake is listed.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read ({error.strerror}); name another with --config FILE"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"is not UTF-8 (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"is not TOML: {error}"]) from error
    problems: list[str] = []
    document = _substitute(document, "", problems)
    planned = list(_planned(document))
    problems += [f"{key}: {PLANNED[pattern]} not built yet in this version; remove the key" for key, pattern in planned]
    if problems:
        raise ConfigError(path, problems)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(path, [_problem(item, document) for item in error.errors()]) from error
    config._path = path.absolute()  # noqa: SLF001 - a private attribute is how pydantic keeps it out of the schema
    return config


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


def _substitute(value: Any, where: str, problems: list[str]) -> Any:
    """`value` with ${NAME} replaced from the environment, at every depth."""
    if isinstance(value, dict):
        return {key: _substitute(item, f"{where}.{key}" if where else key, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, f"{where}[{index}]", problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            problems.append(f"{where}: the environment has no {name}; set it, or write the value here")
            return ""
        return os.environ[name]

    return _VARIABLE.sub(replace, value)


def _planned(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key as written, pattern) of every key that is designed but not built."""
    for pattern in PLANNED:
        found: list[tuple[str, Any]] = [("", document)]
        for part in pattern.split("."):
            step: list[tuple[str, Any]] = []
            for where, node in found:
                if part == "*" and isinstance(node, list):
                    step += [(f"{where}[{index}]", item) for index, item in enumerate(node)]
                elif part == "*" and isinstance(node, dict):
                    step += [(f"{where}.{key}", item) for key, item in node.items()]
                elif isinstance(node, dict) and part in node:
                    step.append((f"{where}.{part}" if where else part, node[part]))
            found = step
        for where, _ in found:
            yield where, pattern


def _problem(item: Any, document: Mapping[str, Any]) -> str:
    """One pydantic error as one line that names the key."""
    where = ""
    for part in item["loc"]:
        where += f"[{part}]" if isinstance(part, int) else (f".{part}" if where else str(part))
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling (docs/reference/settings.md lists all)"
    elif item["type"] == "missing":
        message = (
            "is missing; every route and upstream needs it"
            if item["loc"] != ("upstreams",)
            else ('is missing: add  [upstreams]  with  legacy = "http://host:port"')
        )
    if len(item["loc"]) > 1 and item["loc"][0] == "routes" and isinstance(item["loc"][1], int):
        route = document.get("routes", [])[item["loc"][1]]
        if isinstance(route, dict) and isinstance(route.get("name"), str):
            where += f" (route {route['name']!r})"
    return f"{where}: {message}" if where else message
