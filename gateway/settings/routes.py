"""[[routes]]: one API each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from flags import names
from gateway.request_fields import BELIEVED, never_passed_on
from gateway.settings.freshness import Freshness
from gateway.settings.identity import cookie_name, scheme_name
from gateway.settings.rate_limit import RateLimit
from gateway.settings.section import TOKEN, Section, host_name
from gateway.units import Bytes, Seconds, Timeout
from shadow.paths import PatternSet
from shadow.scalars import Tolerance
from shadow.shapes import shape

SAFE_METHODS = ("GET", "HEAD")

HEAVIEST: Final = 1_000_000
"""A weight of a split. Shares finer than this are nobody's."""
_OF_A_CANDIDATE: Final = ("rewrite", "host", "fallback", "shadow", "gate", "guard")
"""Keys that say what is to become of a candidate, or of the comparison with one."""

_NEVER_STICKY: Final = BELIEVED | {"authorization", "cookie", "content-length", "host", "via"}
"""Credentials, and what says nothing of whoever sends it."""
_NEVER_RELAYED: Final = ("CONNECT", "TRACE")

SHORTEST_WINDOW: Final = 5.0
LONGEST_WINDOW: Final = 3600.0
"""Of a guard, in seconds: its figures are kept by the second."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_SEGMENT = re.compile(r"[^{}*]*|\{[A-Za-z_][A-Za-z0-9_]*\}")


def _tokens(methods: list[str]) -> list[str]:
    for method in methods:
        if not TOKEN.fullmatch(method) or method != method.upper():
            raise ValueError(f"methods are upper-case tokens such as GET: {method!r} is not")
    return methods


class Compare(Section):
    """The reviewed instructions to the comparison that live in the file."""

    ignore: list[str] = []
    """Paths that are not compared, such as $.generated_at or $.items[*].updated."""
    unordered: list[str] = []
    """Lists whose order means nothing."""
    key: dict[str, str] = {}
    """Lists whose elements are aligned by a field: { "$.items" = "id" }."""
    tolerance: dict[str, float | str] = {}
    """Numbers that may differ by this much, or by this share of legacy's: { "$.score" = 0.001, "$.total" = "1 %" }."""
    time: list[str] = []
    """Texts that are equal where they name the same instant, as ISO 8601 or as HTTP writes dates."""
    pattern: dict[str, str] = {}
    """Values that are new every time, and equal where both sides look like this: { "$.id" = "[0-9a-f]{32}" }."""
    headers: list[str] = ["content-type", "cache-control", "location", "set-cookie"]
    """Response headers that are compared; of set-cookie, each cookie's name and attributes."""
    redirects: Literal["exact", "resolved"] = "exact"
    """exact: Location is compared as it is written. resolved: /a and https://host/a are equal where host is what the client asked."""
    freshness: Freshness | None = None
    """Where answers say how fresh they are, if the candidate is fed from elsewhere and so a little behind."""

    @field_validator("ignore", "unordered", "time")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        PatternSet.parse(value)
        return value

    @field_validator("tolerance")
    @classmethod
    def _tolerances(cls, value: dict[str, float | str]) -> dict[str, float | str]:
        for amount in value.values():
            Tolerance.parse(amount)
        return value

    @field_validator("pattern")
    @classmethod
    def _shapes(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            shape(text)
        return value

    @field_validator("key", "tolerance", "pattern")
    @classmethod
    def _keyed[T](cls, value: dict[str, T]) -> dict[str, T]:
        PatternSet.parse(list(value))
        return value


class RouteShadow(Section):
    """What of a route's traffic is compared."""

    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the eligible requests that is compared."""
    methods: list[str] = list(SAFE_METHODS)
    """Those that are compared. Others than GET and HEAD only with `sandbox = true`."""
    sandbox: bool = False
    """The candidate does nothing with a request that has `Banyan-Shadow: 1` but answer it: it stores nothing, calls nobody, and takes no
    Idempotency-Key. Then writes, too, may be compared: docs/guide/sandbox.md."""
    sandbox_legacy: bool = False
    """Legacy keeps to the same. Then writes are compared after the switch, too, when it is legacy that is in the shadow."""
    capture: Bytes = 256 * 1024
    """An answer whose body is longer is not compared, and counted as skipped."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Share of the shadowed requests that is also sent to legacy a second time."""
    compare: Compare = Compare()
    """The rules of the comparison."""

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: list[str]) -> list[str]:
        return _tokens(value)

    @model_validator(mode="after")
    def _sandboxed(self) -> RouteShadow:
        never = [method for method in self.methods if method in _NEVER_RELAYED]
        if never:
            raise ValueError(f"methods: {', '.join(never)} is not relayed, and so never compared; remove it")
        writes = [method for method in self.methods if method not in SAFE_METHODS]
        if writes and not self.sandbox:
            raise ValueError(
                f"methods: {', '.join(writes)} would be executed a second time, by the candidate. Remove it; or, if the candidate does "
                "nothing with a request that has Banyan-Shadow: 1 but answer it, say so: sandbox = true"
            )
        if self.sandbox_legacy and not self.sandbox:
            raise ValueError("sandbox_legacy: means nothing without sandbox = true")
        if self.sandbox and not writes:
            raise ValueError('sandbox: means nothing without a method that writes; add it: methods = ["GET", "HEAD", "POST"]')
        return self


class Gate(Section):
    """When a route may be promoted."""

    minimum: int = Field(default=1000, ge=1)
    """Comparisons that the gate needs."""
    match: float = Field(default=0.999, gt=0, lt=1)
    """What the lower bound of the match rate (Wilson, 95 %) must reach; less than 1, which no number of comparisons shows."""
    window: Timeout = 86400.0
    """What was compared longer ago does not count. A new signature that was not seen since then keeps nobody from promoting; a bug does,
    until somebody says that it is fixed."""
    coverage: float = Field(default=0.5, ge=0, le=1)
    """Share of what was to be compared that must have been. What `sample` left out by chance is not counted: it is like the rest."""


class Guard(Section):
    """When a route's flag is turned off by itself, because its candidate does worse than legacy. Without this section nobody watches it."""

    errors: float = Field(default=0.01, ge=0, lt=1)
    """How much higher than legacy's the candidate's share of errors may be: 5xx, and no whole answer, also where legacy took its place."""
    latency: float = Field(default=1.5, ge=1)
    """How many times legacy's p95 the candidate's may be, from the request's being sent to the answer's head."""
    mismatch: float | None = Field(default=None, ge=0, lt=1)
    """The share of compared answers that may differ; it needs what is compared, so the flag `<flag>.shadow`. By default none is watched."""
    window: Seconds = 60.0
    """The time that is looked at: 5s to 1h."""
    minimum: int = Field(default=50, ge=10)
    """Requests to the candidate within it, below which nothing is said."""

    @field_validator("window")
    @classmethod
    def _window(cls, value: float) -> float:
        if not SHORTEST_WINDOW <= value <= LONGEST_WINDOW:
            raise ValueError('write a window from "5s" to "1h": in a shorter one everything is chance, in a longer one it is too late')
        return value


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
    """One API: methods and path, its candidate or its providers, its flags and rules."""

    name: str
    """Unique; also the name of its flag."""
    match: str
    """The path: segments, {name} for one, * for the rest. The most specific pattern wins."""
    methods: list[str] = []
    """Empty: every method."""
    candidate: str
    """The upstream that is to take the route over. In its place a route may have `split`."""
    split: dict[str, int] = {}
    """Several providers in place of a candidate, each with its share: { psp-a = 70, psp-b = 30 }. While the flag `<flag>.split` is on, the
    weights of its variants, named as the upstreams, take the place of these. Legacy answers only if it is one of them."""
    sticky: str = "user"
    """With `split`, who keeps meeting the same provider. user: a user, else a session or visitor, else an address. session: a session or
    visitor, else a user, else an address. random: nobody. idempotency-key: whoever comes with the same Idempotency-Key; what was sent
    where, and what came of it, is kept in the [ledger], and nothing is sent twice (docs/guide/payments.md). header:Name: whoever comes with
    the same value of that field. Without the field: as user."""
    failover: Literal["safe", "never"] = "never"
    """With `split`, what happens when a provider fails. safe: another is asked, where that can execute nothing twice: of nothing was sent,
    or it is a GET, HEAD or OPTIONS. never: nobody else is asked."""
    require_key: bool = False
    """With `sticky = "idempotency-key"`: a request that writes and has no Idempotency-Key is answered 400. Else it is sent, and one that
    goes unanswered is in doubt, but a repeat of it is another request."""
    rewrite: str | None = None
    """The candidate's own path, with the names and the * of `match`."""
    host: str | None = None
    """The Host that the candidate gets; by default the client's."""
    flag: str | None = None
    """The flag's name, if it is not the route's; `<flag>.shadow` turns comparing on, `<flag>.split` the weights of its variants."""
    identity: Literal["ignored", "optional", "required"] = "optional"
    """What it needs to know of its caller. required: whoever is not logged in gets 401, and 503 while nobody can say; no upstream is asked.
    ignored: nobody finds out who calls; flags and upstreams are told nothing."""
    credential: RouteCredential | None = None
    """What of its requests says who calls, if it is not what [identity] says: { cookie = "sid" } or { scheme = "Bearer" }."""
    domain: str = ""
    """The domain that it belongs to, of those in [domains] order. By default what /api/{version}/{domain} says in `match`."""
    rate_limit: RateLimit | None = None
    """How often it may be asked for, whoever answers: { per = "client", rate = 50, burst = 100 }."""
    priority: Literal["critical", "normal", "sheddable"] = "normal"
    """Where an upstream has more requests than `concurrency` lets in: critical ones are let in first, and sheddable ones told first to come
    again. What no route matches is normal."""
    fallback: bool = True
    """When the candidate fails, legacy answers, where that cannot execute anything twice."""
    shadow: RouteShadow = RouteShadow()
    """What of the traffic is compared."""
    gate: Gate = Gate()
    """When the route may be promoted."""
    guard: Guard | None = None
    """When its flag is turned off by itself."""

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
        return _tokens(value)

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return value if value is None else host_name(value)

    @field_validator("split", mode="before")
    @classmethod
    def _weights(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if not value:
            raise ValueError("names no provider: write { psp-a = 70, psp-b = 30 }, each an upstream and its weight")
        for name, weight in value.items():
            # bool is an int to Python, and `psp-a = true` is no share.
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 < weight <= HEAVIEST:
                raise ValueError(
                    f"the weight of {name!r} is a whole number from 1 to {HEAVIEST}, and not {weight!r}: "
                    "leave a provider out that is to get nothing"
                )
        return value

    @field_validator("sticky")
    @classmethod
    def _sticky(cls, value: str) -> str:
        kind, mark, name = value.partition(":")
        if value in ("user", "session", "random", "idempotency-key"):
            return value
        if kind != "header" or not mark or not TOKEN.fullmatch(name):
            raise ValueError(f"expected 'user', 'session', 'random', 'idempotency-key' or 'header:Name', not {value[:100]!r}")
        if name.lower() in _NEVER_STICKY or never_passed_on(name.lower()):
            raise ValueError(f"{name} is a credential, or is not the client's to say: name another field")
        if name.lower() == "idempotency-key":
            raise ValueError("write 'idempotency-key': then nothing is sent twice, either")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if "split" not in value:
            if "sticky" in value and "candidate" in value:
                raise ValueError("sticky means nothing without split: its flag says who stays with the candidate (docs/guide/flags.md)")
            for key in ("failover", "require_key"):
                if key in value and "candidate" in value:
                    raise ValueError(f"{key} means nothing without split: it is about several providers")
            return value
        if "candidate" in value:
            raise ValueError("candidate and split exclude one another: a route has one candidate, or several providers")
        lost = [key for key in _OF_A_CANDIDATE if key in value]
        if lost:
            raise ValueError(f"{', '.join(lost)}: means nothing with split, which has no candidate; remove it")
        return {**value, "candidate": ""}

    @model_validator(mode="after")
    def _keyed(self) -> Route:
        if self.require_key and not self.ledgered:
            raise ValueError('require_key means nothing without sticky = "idempotency-key"')
        return self

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
    def _comparable(self) -> Route:
        if self.guard is not None and self.guard.mismatch is not None:
            compared = [method for method in self.shadow.methods if not self.methods or method in self.methods]
            if not self.shadow.sample or not compared:
                what = "shadow.sample is 0" if compared else "none of its methods is among shadow.methods"
                raise ValueError(f"guard.mismatch watches what is compared, and of this route nothing is: {what}; or remove mismatch")
        return self

    @model_validator(mode="after")
    def _switchable(self) -> Route:
        for flag in self.flags:
            if not names.possible(flag):
                raise ValueError(f"{flag!r}, which is to be its flag, cannot be a flag's name: {names.RULE}")
        return self

    @property
    def ledgered(self) -> bool:
        """What it writes is kept in the ledger."""
        return bool(self.split) and self.sticky == "idempotency-key"

    @property
    def serve_flag(self) -> str:
        """On: the candidate answers."""
        return self.flag or self.name

    @property
    def shadow_flag(self) -> str:
        """On: the answers are compared."""
        return f"{self.serve_flag}.shadow"

    @property
    def split_flag(self) -> str:
        """On: its variants say what each provider's share is."""
        return f"{self.serve_flag}.split"

    @property
    def flags(self) -> dict[str, str]:
        """The flags that it reads, and the role of each: serve and shadow, or split."""
        return {self.split_flag: "split"} if self.split else {self.serve_flag: "serve", self.shadow_flag: "shadow"}


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
