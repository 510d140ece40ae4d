"""What steering needs of banyan.toml: where the flags live, which of them routes read, and where the gateway's admin port is.

`flags off` and `flags override` are for the moment when something is wrong, which may be banyan.toml itself, or a secret that the shell of
whoever is called at night has not got. So for them the rest of the file need not be right.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from gateway.settings import Config

ADMIN: Final = "127.0.0.1:9900"


@dataclass(frozen=True, slots=True)
class Read:
    """A flag as a route reads it."""

    flag: str
    role: str
    """serve, shadow or split."""
    route: str
    match: str
    methods: tuple[str, ...]
    candidate: str
    """"" where it has several providers."""
    split: Mapping[str, int] = field(default_factory=dict)
    """Their configured weights."""


@dataclass(frozen=True, slots=True)
class Steering:
    path: Path
    """banyan.toml."""
    source: str
    """file or unleash."""
    file: Path
    url: str
    token: str = field(repr=False)
    admin_token: str = field(repr=False)
    project: str
    environment: str
    admin: str
    """[gateway] admin."""
    reads: tuple[Read, ...]
    wrong: str = ""
    """What else is wrong with the file."""

    @property
    def where(self) -> str:
        """Where the flags live, in words."""
        return f"{self.file}" if self.source == "file" else f"Unleash at {self.url}, project {self.project}, environment {self.environment}"

    @property
    def flags(self) -> list[str]:
        """The flags that routes read, each once."""
        return list(dict.fromkeys(read.flag for read in self.reads))


def steering(path: Path, *, whatever: bool = False) -> Steering:
    """`whatever` else is wrong in the file: what is needed of it is taken nevertheless, where that is right.

    Raises:
        RefusalError: it cannot be used.
    """
    from gateway.config import ConfigError, load

    try:
        return _of(load(path))
    except ConfigError as error:
        found = _salvaged(path, error.problems[0]) if whatever else None
        if found is None:
            raise RefusalError(str(error)) from error
        return found


def _of(config: Config) -> Steering:
    flags = config.flags
    return Steering(
        config.path,
        flags.source,
        config.resolve(flags.path),
        flags.url,
        flags.token.get_secret_value(),
        flags.admin_token.get_secret_value(),
        flags.project,
        flags.environment,
        config.gateway.admin,
        tuple(
            Read(flag, role, route.name, route.match, tuple(route.methods), route.candidate, route.split)
            for route in config.routes
            for flag, role in route.flags.items()
        ),
    )


def admin_address(path: Path) -> str:
    """[gateway] admin, whatever else is wrong in the file. With none to be had, the default.

    Raises:
        RefusalError: there is no such file, or it is no TOML at all: then --admin has to name the gateway.
    """
    from gateway.config import ConfigError, load

    try:
        return load(path).gateway.admin
    except ConfigError as error:
        document = _document(path)
        if document is None:
            raise RefusalError(f"{error}. Or name the gateway with --admin HOST:PORT") from error
        return _filled(_table(document.get("gateway")).get("admin")) or ADMIN


def _document(path: Path) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _salvaged(path: Path, wrong: str) -> Steering | None:
    document = _document(path)
    if document is None:
        return None
    flags, gateway, listed = _table(document.get("flags")), _table(document.get("gateway")), document.get("routes")
    source = flags.get("source", "file")
    url, admin_token = _filled(flags.get("url", "")), _filled(flags.get("admin_token", ""))
    project, environment = _filled(flags.get("project", "default")), _filled(flags.get("environment", "development"))
    file, admin = _filled(flags.get("path", "flags.json")), _filled(gateway.get("admin", ADMIN))
    routes = [_table(route) for route in listed] if isinstance(listed, list) else []
    names = [(str(route.get("flag") or route["name"]), route) for route in routes if isinstance(route.get("name"), str)]
    if source not in ("file", "unleash") or not (file and project and environment):
        return None
    if source == "unleash" and not (admin_token and _usable(url)):
        return None
    return Steering(
        path.absolute(),
        source,
        (path.absolute().parent / file).absolute(),
        url,
        "",
        admin_token,
        project,
        environment,
        admin or ADMIN,
        tuple(
            Read(f"{flag}{suffix}", role, route["name"], str(route.get("match", "")), (), str(route.get("candidate", "")))
            for flag, route in names
            for suffix, role in (((".split", "split"),) if "split" in route else (("", "serve"), (".shadow", "shadow")))
        ),
        wrong,
    )


def _usable(url: str) -> bool:
    """What is said of the address from here on goes to a terminal: none that has a password in it."""
    from flags.source import FlagSourceError, check_url

    try:
        check_url(url)
    except FlagSourceError:
        return False
    return True


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _filled(value: object) -> str:
    """With ${NAME} from the environment; "" where that is missing, or it is no text at all."""
    from gateway.config import VARIABLE

    if not isinstance(value, str) or any(name not in os.environ for name in VARIABLE.findall(value)):
        return ""
    return VARIABLE.sub(lambda found: os.environ[found[1]], value)
