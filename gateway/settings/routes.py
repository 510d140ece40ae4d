"""[[routes]]: one API each."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from flags import names
from gateway.settings.identity import cookie_name, scheme_name
from gateway.settings.section import TOKEN, Section, host_name
from gateway.units import Bytes
from shadow.paths import PatternSet

SAFE_METHODS = ("GET", "HEAD")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_SEGMENT = re.compile(r"[^{}*]*|\{[A-Za-z_][A-Za-z0-9_]*\}")


class Compare(Section):
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


class RouteShadow(Section):
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


class Gate(Section):
    """When a route may be promoted."""

    minimum: int = Field(default=1000, ge=1)
    """Comparisons that the gate needs."""
    match: float = Field(default=0.999, gt=0, le=1)
    """What the lower bound of the match rate (Wilson, 95 %) must reach."""


class RouteCredential(Section):
    """What of this route's requests says who calls, where it is not what [identity] says."""

    cookie: str = ""
    """The cookie's name."""
    scheme: str = ""
    """The scheme of Authorization."""

    @field_validator("cookie")
    @classmethod
    def _cookie(cls, value: str) -> str:
        return cookie_name(value)

    @field_validator("scheme")
    @classmethod
    def _scheme(cls, value: str) -> str:
        return scheme_name(value)

    @model_validator(mode="after")
    def _any(self) -> RouteCredential:
        if not self.cookie and not self.scheme:
            raise ValueError(
                'name what to look at: { cookie = "sessionid" }, { scheme = "Bearer" }, or both; identity = "ignored" looks at none'
            )
        return self


class Route(Section):
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
    identity: Literal["ignored", "optional", "required"] = "optional"
    """What it needs to know of its caller. required: whoever is not logged in gets 401, and 503 while nobody can say; no upstream is asked.
    ignored: nobody finds out who calls; flags and upstreams are told nothing."""
    credential: RouteCredential | None = None
    """What of its requests says who calls, if it is not what [identity] says: { cookie = "sid" } or { scheme = "Bearer" }."""
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
            if not TOKEN.fullmatch(method) or method != method.upper():
                raise ValueError(f"methods are upper-case tokens such as GET: {method!r} is not")
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return value if value is None else host_name(value)

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
