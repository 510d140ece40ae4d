"""Turns the configuration into the policy's own terms, for whichever engine carries it out."""

from __future__ import annotations

import random

from flags.snapshot import Flags
from gateway.policy.decision import Policy, RouteRules, ShadowRules, SplitRules, Target
from gateway.policy.routing import Pattern, Rewrite
from gateway.settings import Config, Route


def policy(config: Config, flags: Flags) -> Policy:
    """The policy that `config` describes."""
    return Policy((_rules(route) for route in config.routes), flags, random.random)


def _rules(route: Route) -> RouteRules | SplitRules:
    pattern = Pattern(route.name, route.match, frozenset(route.methods))
    if route.split:
        failover, key = route.failover == "safe", route.require_key
        return SplitRules(pattern, route.split, route.split_flag, route.sticky, failover=failover, ledger=route.ledgered, require_key=key)
    return RouteRules(
        pattern,
        Target(
            route.candidate,
            Rewrite(route.match, route.rewrite) if route.rewrite is not None else None,
            route.host.encode() if route.host is not None else None,
        ),
        route.serve_flag,
        route.shadow_flag,
        route.fallback,
        ShadowRules(frozenset(route.shadow.methods), route.shadow.sample, route.shadow.capture, route.shadow.noise),
        route.shadow.sandbox_legacy,
        guarded=route.guard is not None,
    )
