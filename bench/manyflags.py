"""A thousand flags as Unleash 8 sends them: gradual rollouts, constraints, segments, variants, dates."""

from __future__ import annotations

from typing import Any

import orjson

_USERS = [str(number) for number in range(100_000, 100_040)]


def feature(number: int) -> dict[str, Any]:
    """One of every fifth kind."""
    name = f"team-{number % 17}.feature-{number}"
    constraints: list[dict[str, Any]] = [
        {"contextName": "userId", "operator": "IN", "values": _USERS[: 5 + number % 35], "inverted": False, "caseInsensitive": False},
        {"contextName": "appVersion", "operator": "SEMVER_GTE", "value": f"3.{number % 40}.0", "values": [], "inverted": False},
        {"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2026-01-31T08:00:00.000Z", "values": [], "inverted": False},
    ]
    rollout = {"rollout": str(number % 101), "stickiness": "default", "groupId": name}
    strategy: dict[str, Any] = {"name": "flexibleRollout", "parameters": rollout, "constraints": constraints[: number % 4], "variants": []}
    if number % 5 == 1:
        strategy["segments"] = [number % 20]
    strategies = [strategy]
    if number % 5 == 2:
        strategies.append({"name": "userWithId", "parameters": {"userIds": ",".join(_USERS)}, "constraints": [], "variants": []})
    shared = {"weight": 500, "weightType": "variable", "stickiness": "default", "overrides": []}
    variants = [{"name": side, **shared, "payload": {"type": "string", "value": side}} for side in ("old", "new")]
    return {
        "name": name,
        "type": "release",
        "enabled": number % 3 > 0,
        "project": "default",
        "stale": False,
        "impressionData": False,
        "description": f"What feature {number} is about, in a sentence that somebody wrote.",
        "strategies": strategies,
        "variants": variants if number % 5 == 3 else [],
        "dependencies": [{"feature": f"team-{(number - 1) % 17}.feature-{number - 1}", "enabled": True}] if number % 10 == 4 else [],
    }


def segment(number: int) -> dict[str, Any]:
    """Of which a fifth of the flags use one."""
    values = [f"country-{place}" for place in range(30)]
    return {"id": number, "name": f"segment-{number}", "constraints": [{"contextName": "country", "operator": "IN", "values": values}]}


def document(flags: int) -> dict[str, Any]:
    """The document."""
    return {
        "version": 2,
        "features": [feature(number) for number in range(flags)],
        "segments": [segment(number) for number in range(20)],
        "query": {"environment": "production"},
    }


def data(flags: int) -> bytes:
    """Its bytes; 0.7 MB for a thousand."""
    return orjson.dumps(document(flags))


def names(of: bytes) -> list[str]:
    """The flags of a document."""
    return [feature["name"] for feature in orjson.loads(of)["features"]]
