"""The shape of banyan.toml: every section, key, default and rule, as immutable values.

An unknown key is an error: a misspelt `fallbck = false` must not become a default. Reading the file is config.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import PrivateAttr, field_validator, model_validator

from flags.splits import Split
from gateway.request_fields import BELIEVED
from gateway.settings.addresses import parse_address
from gateway.settings.concurrency import Concurrency
from gateway.settings.console import Console
from gateway.settings.django_session import DjangoSession
from gateway.settings.domains import Domains
from gateway.settings.flags import FlagSource
from gateway.settings.gateway import Certificate, Gateway, Limits
from gateway.settings.identity import RESERVED, Identity, Visitor
from gateway.settings.ledger import Ledger
from gateway.settings.routes import Compare, Gate, Guard, Route, RouteShadow
from gateway.settings.section import Section
from gateway.settings.shadow import Shadow
from gateway.settings.stamp import Stamp, StampKey
from gateway.settings.tracing import Tracing
from gateway.settings.upstreams import Upstream, UpstreamTls

__all__ = [
    "Certificate",
    "Compare",
    "Concurrency",
    "Config",
    "Console",
    "DjangoSession",
    "Domains",
    "FlagSource",
    "Gate",
    "Gateway",
    "Guard",
    "Identity",
    "Ledger",
    "Limits",
    "Route",
    "RouteShadow",
    "Shadow",
    "Stamp",
    "StampKey",
    "Tracing",
    "Upstream",
    "UpstreamTls",
    "Visitor",
    "parse_address",
]


class Config(Section):
    """The whole file."""

    gateway: Gateway = Gateway()
    upstreams: dict[str, Upstream]
    flags: FlagSource = FlagSource()
    identity: Identity = Identity()
    routes: list[Route] = []
    shadow: Shadow = Shadow()
    ledger: Ledger = Ledger()
    domains: Domains | None = None
    console: Console = Console()
    tracing: Tracing = Tracing()
    _path: Path = PrivateAttr(default=Path("banyan.toml"))
    _files: dict[str, bytes] = PrivateAttr(default_factory=dict)

    @field_validator("upstreams", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: {"url": item} if isinstance(item, str) else item for name, item in value.items()}
        return value

    @field_validator("upstreams")
    @classmethod
    def _named(cls, value: dict[str, Upstream]) -> dict[str, Upstream]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", name):
                raise ValueError(f"an upstream's name is letters, digits, '.', '_' and '-', at most 100: {name[:120]!r} is not")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if "legacy" not in self.upstreams:
            raise ValueError('upstreams.legacy is missing: add  legacy = "http://host:port"  under [upstreams]')
        seen: dict[str, str] = {}
        patterns: dict[tuple[str, str], str] = {}
        roles: dict[str, tuple[str, str]] = {}
        for route in self.routes:
            for flag, role in route.flags.items():
                other, whose = roles.setdefault(flag, (role, route.name))
                if other != role:  # whoever has one compared would have the other answered by its candidate
                    raise ValueError(
                        f"route {route.name!r}: its {role} flag {flag!r} is the {other} flag of route {whose!r}: give it another (flag = …)"
                    )
            known = ", ".join(sorted(self.upstreams))
            for provider in route.split:
                if provider not in self.upstreams:
                    raise ValueError(f"route {route.name!r}: split names {provider!r}, which is not under [upstreams] (there: {known})")
            if not route.split and route.candidate not in self.upstreams:
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
            if route.identity == "required" and self.identity.source == "none":
                raise ValueError(
                    f'route {route.name!r}: identity = "required" lets nobody in as long as identity.source is "none"; set it to '
                    '"introspection", for example'
                )
            by_user = route.rate_limit is not None and route.rate_limit.per == "user"
            if by_user and (self.identity.source == "none" or route.identity == "ignored"):
                raise ValueError(
                    f'route {route.name!r}: rate_limit.per = "user": nobody is asked who calls; write per = "client", or set identity to '
                    '"optional" or "required", with an identity.source'
                )
            if route.credential is not None and self.identity.source == "django-session" and route.credential.scheme:
                raise ValueError(
                    f'route {route.name!r}: credential: source = "django-session" reads nothing but a cookie; name it, and no scheme'
                )
            if route.credential is not None and (self.identity.source == "none" or route.identity == "ignored"):
                raise ValueError(f"route {route.name!r}: credential is never looked at, since nobody is asked who calls; remove it")
            if "window" in route.gate.model_fields_set and route.gate.window > self.shadow.retention:
                raise ValueError(f"route {route.name!r}: gate.window is longer than shadow.retention: nothing is kept for so long")
            if route.guard is not None and self.flags.source == "unleash" and not self.flags.admin_token.get_secret_value():
                raise ValueError(
                    f"route {route.name!r}: guard turns the flag off in Unleash, and may not: set flags.admin_token, such as "
                    'admin_token = "${UNLEASH_ADMIN_TOKEN}"'
                )
            mismatch = route.guard is not None and route.guard.mismatch is not None
            if mismatch and self.shadow.sink == "jetstream" and self.shadow.database.startswith("sqlite:"):
                raise ValueError(
                    f"route {route.name!r}: guard.mismatch counts what shadow workers write to shadow.database, and with "
                    "sink = 'jetstream' a SQLite file of the gateway's own stays empty: "
                    "write the workers' database, postgres://…, or remove mismatch"
                )
        secret = {name.lower() for name in self.shadow.redact}
        for name in self.flags.headers:
            if name in RESERVED or name in self.identity.claims:
                raise ValueError(f"flags.headers: flags are told of {name!r} already, in any case or by identity.claims")
            if name in secret:
                raise ValueError(
                    f"flags.headers: {name!r} is a secret by shadow.redact, and what flags read is remembered, and written to impressions"
                )
            if name in BELIEVED and not self.gateway.trusted_proxies:
                raise ValueError(f"flags.headers: {name!r} is believed from gateway.trusted_proxies only, and there are none")
        self._check_visitor()
        self._check_ledger()
        self._check_domains()
        return self

    def _check_domains(self) -> None:
        named = next((route for route in self.routes if route.domain), None)
        if self.domains is None:
            if named is not None:
                raise ValueError(f"route {named.name!r}: domain means nothing without [domains] order; add it, or remove the key")
            return
        order = [name for each in self.domains.order for name in ([each] if isinstance(each, str) else each)]
        for route in self.routes:
            if route.domain and route.domain not in order:
                raise ValueError(f"route {route.name!r}: domain {route.domain[:80]!r} is not in domains.order (there: {', '.join(order)})")
        if self.domains.enforce != "off" and self.identity.stamp is None:
            raise ValueError(
                f'domains.enforce = "{self.domains.enforce}" knows a caller by its stamp, and nobody is stamped: set [identity] '
                'stamp, such as stamp = { key = "${BANYAN_STAMP_KEY}" }, or write enforce = "off"'
            )

    def _check_ledger(self) -> None:
        if not self.ledgered or not self.ledger.local:
            return
        if self.shadow.sink == "jetstream":  # a repeat at another gateway, whose file has nothing of the key, would be sent
            raise ValueError(
                f"route {self.ledgered[0]!r}: sink = 'jetstream' is for several gateways, and a ledger in a SQLite file is one gateway's "
                "own: a payment that is repeated at another would be made twice; give all of them one PostgreSQL: "
                '[ledger] database = "postgresql://…"'
            )
        if self.ledger.database == self.shadow.database:
            raise ValueError(
                "ledger.database is shadow.database, and a payment would wait for whatever is written there; give it a file of its own, "
                'such as "sqlite:///var/ledger.sqlite3"'
            )

    def _check_visitor(self) -> None:
        visitor = self.identity.visitor
        if visitor is None or not visitor.cookie.lower().startswith(("__host-", "__secure-")):
            return
        if not self.gateway.trusted_proxies and not any(secure for _, secure in self.gateway.addresses):
            raise ValueError(
                f"identity.visitor.cookie: browsers take a cookie named {visitor.cookie!r} over TLS only, and nobody comes over it: there "
                "is no gateway.tls, and no gateway.trusted_proxies that could say so; name it without the prefix"
            )

    def collisions(self) -> list[str]:
        """Two keys that name one file, of which each would be overwritten or filled by the other."""
        keys = {
            "flags.path": self.flags.path,
            "flags.overrides": self.flags.overrides,
            "flags.backup": self.flags.backup,
            "gateway.access_log": self.gateway.access_log,
            "flags.impressions": self.flags.impressions,
        }
        files: dict[Path, str] = {}
        found = []
        for key, name in keys.items():
            # A device, such as /dev/null and /dev/stdout, is no file that one could overwrite.
            if name in ("", "-") or name.startswith("/dev/"):
                continue
            try:
                file = self.resolve(name).resolve()
            except (OSError, RuntimeError):  # a loop of links: opening it says so
                continue
            other = files.setdefault(file, key)
            if other != key:
                found.append(f"{other} and {key} name the same file, {name}: give each its own")
        return found

    @property
    def splits(self) -> list[Split]:
        """The routes with several providers, and by whose variants each goes."""
        return [Split(route.split_flag, route.name, tuple(route.split)) for route in self.routes if route.split]

    @property
    def ledgered(self) -> list[str]:
        """The names of the routes that keep a ledger."""
        return [route.name for route in self.routes if route.ledgered]

    @property
    def path(self) -> Path:
        """The file that this came from."""
        return self._path

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self._path.parent

    def hold(self, files: Mapping[str, bytes]) -> None:
        """What files that it names held when it was found good: whoever goes by it later goes by this, whatever is in them by then."""
        self._files |= files

    @property
    def held(self) -> dict[str, bytes]:
        """What it holds, by the name as written."""
        return self._files

    def content(self, path: str) -> bytes:
        """Of a file that is named in it.

        Raises:
            OSError: it is not held, and cannot be read.
        """
        held = self._files.get(path)
        return held if held is not None else self.resolve(path).read_bytes()

    @property
    def log_target(self) -> str:
        """Where the access log goes: "-", "" or an absolute path."""
        log = self.gateway.access_log
        return str(self.resolve(log)) if log not in ("", "-") else log

    @property
    def impressions_target(self) -> str:
        """Where impressions go, in the same way."""
        target = self.flags.impressions
        return str(self.resolve(target)) if target not in ("", "-") else target

    def resolve(self, path: str) -> Path:
        """A path as written in the file, made absolute."""
        return (self.folder / path).absolute()
