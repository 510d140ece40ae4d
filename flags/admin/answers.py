"""What Unleash's Admin API answers, as far as it is read here: only what a program would fall over has to be as it is written."""

from __future__ import annotations

from typing import Any

import msgspec


class Strategy(msgspec.Struct):
    """Of a flag, in one environment."""

    name: str
    id: str | None = None
    parameters: dict[str, Any] | None = None
    constraints: list[Any] | None = None
    segments: list[Any] | None = None
    disabled: bool | None = None


class Environment(msgspec.Struct):
    """A flag in one environment."""

    name: str
    enabled: bool
    strategies: list[Strategy] | None = None


class Tag(msgspec.Struct):
    type: str
    value: str


class Feature(msgspec.Struct):
    """A flag, as it is made, found and listed."""

    name: str
    description: str | None = None
    type: str | None = None
    stale: bool | None = None
    tags: list[Tag] | None = None


class Listed(Feature, kw_only=True):
    """One of a project's."""

    environments: list[Environment]


class Features(msgspec.Struct):
    """All of a project's."""

    features: list[Listed]


class Project(msgspec.Struct):
    id: str


class Projects(msgspec.Struct):
    projects: list[Project]


class Evaluated(msgspec.Struct):
    data: list[Strategy]


class Played(msgspec.Struct):
    """A flag as Unleash's playground tells of it."""

    name: str
    strategies: Evaluated


class Playground(msgspec.Struct):
    features: list[Played]
