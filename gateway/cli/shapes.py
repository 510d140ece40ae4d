"""What a gateway's admin port answers, as far as the commands read it. Whatever answers otherwise is none, or of another version."""

from __future__ import annotations

from typing import Any

import msgspec


class Overridden(msgspec.Struct):
    """PUT and DELETE /flags/overrides/NAME."""

    workers: dict[str, bool]
    enabled: bool | None = None
    until: float | None = None
    warning: str | None = None


class Override(msgspec.Struct):
    enabled: bool
    until: float
    by: str | None = None
    why: str | None = None


class Problem(msgspec.Struct):
    flag: str
    problem: str


class Flags(msgspec.Struct):
    """GET /flags."""

    source: str
    flags: dict[str, bool]
    workers: dict[str, bool]
    error: str | None = None
    staleness_seconds: float | None = None
    fetched_at: float | None = None
    overrides: dict[str, Override] | None = None
    problems: list[Problem] | None = None


class Explained(msgspec.Struct):
    """POST /explain."""

    request: dict[str, Any]
    decision: dict[str, Any] | None
    """None where the gateway itself would answer: `refused` says what."""
    flags: list[dict[str, Any]]
    problems: list[Problem]
    notes: list[str]
    route: dict[str, Any] | None = None
    refused: dict[str, Any] | None = None
    identity: dict[str, Any] | None = None


class Capture(msgspec.Struct):
    """GET /capture."""

    socket: str
    routes: list[dict[str, Any]]


class Guards(msgspec.Struct):
    """GET /guard."""

    routes: list[dict[str, Any]]
    trips: list[dict[str, Any]]
    clerk: dict[str, Any]


class Top(msgspec.Struct):
    """GET /top."""

    seconds: float
    endpoints: list[dict[str, Any]]
    rest: dict[str, Any]
    total: dict[str, Any]


class DomainCalls(msgspec.Struct):
    caller: str
    domain: str
    calls: int


class Domains(msgspec.Struct):
    """GET /domains."""

    calls: list[DomainCalls]
