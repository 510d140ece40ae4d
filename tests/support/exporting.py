"""Configurations and flags for what exports them."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from typing import Any

from gateway.export.places import Surroundings
from gateway.export.plan import FlagState
from gateway.settings import Config

UPSTREAMS = """
[upstreams]
legacy = "http://legacy.shop:8001"
reviews = "http://reviews.shop:8101"
psp-a = "http://psp-a.shop:8201"
psp-b = "http://psp-b.shop:8202"
"""
ROUTE = """
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
fallback = false
"""
SPLIT = """
[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = { psp-a = 70, psp-b = 30 }
sticky = "random"
"""
ALL = {"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "default", "groupId": "g"}}


def config(routes: str, upstreams: str = UPSTREAMS) -> Config:
    """As banyan.toml would give it."""
    return Config.model_validate(tomllib.loads(upstreams + routes))


def dice(share: int) -> dict[str, Any]:
    """A strategy."""
    return {"name": "flexibleRollout", "parameters": {"rollout": str(share), "stickiness": "random", "groupId": "g"}}


def flags(overridden: Collection[str] = (), /, **strategies: dict[str, Any] | int | bool) -> FlagState:
    """NAME=25: a share by dice; True and False; or a strategy. `__` in a name is a dot."""
    features = {}
    for key, said in strategies.items():
        name = key.replace("__", ".")
        if isinstance(said, dict) and "enabled" in said:
            features[name] = {"name": name, **said}
            continue
        strategy = said if isinstance(said, dict) else ALL if isinstance(said, bool) else dice(said)
        features[name] = {"name": name, "enabled": bool(said), "strategies": [strategy]}
    return FlagState(features, overridden)


def around(*, rest: str = "gateway", **services: tuple[str, int]) -> Surroundings:
    """A mesh that finds upstreams where banyan.toml says, or in `services`."""
    gateway = ("banyan.shop", 8080) if rest == "gateway" else ("", 0)
    return Surroundings(
        "legacy" if rest == "legacy" else "gateway", gateway, {name.replace("__", "-"): at for name, at in services.items()}
    )
