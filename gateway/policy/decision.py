"""Who answers this request, who is asked beside, and why: the question that Banyan exists for.

Pure: no socket, no clock, no chance of its own. Both engines ask the same Policy at the same moments: request head (`decide`),
response head (`on_response`) and failure (`on_failure`). Every doubt ends at legacy: flag off, unknown or unreadable, path ambiguous,
candidate failed.

A Decision holds nothing of the request, so the few that a route can have are made once, when the policy is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from flags.snapshot import Context, Flags
from gateway.policy.failover import may_go_elsewhere, may_repeat, problem_of
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.policy.routing import AmbiguousPathError, Pattern, Rewrite, Table

LEGACY: Final = "legacy"


class Reason(StrEnum):
    """Why a request went where it went."""

    UNROUTED = "unrouted"
    AMBIGUOUS = "ambiguous-path"
    FLAG_ON = "flag"
    FLAG_OFF = "flag-off"
    OVERRIDE = "override"
    """A person set the flag on this gateway for a while (`banyan flags override`), past where it lives."""


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, and how a request must look to it."""

    upstream: str
    rewrite: Rewrite | None = None
    host: bytes | None = None

    @property
    def side(self) -> str:
        """legacy or candidate."""
        return "legacy" if self.upstream == LEGACY else "candidate"


@dataclass(frozen=True, slots=True)
class ShadowRules:
    """What of a route's traffic may be mirrored, and how much of it is kept."""

    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    sample: float = 1.0
    capture: int = 256 * 1024
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteRules:
    """One route as the policy sees it."""

    pattern: Pattern
    candidate: Target
    serve_flag: str
    shadow_flag: str
    fallback: bool = True
    shadow: ShadowRules = ShadowRules()

    @property
    def name(self) -> str:
        return self.pattern.name


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one request. `route` is '' where no route matched."""

    route: str
    serve: Target
    fallback: Target | None
    shadow: Target | None
    reason: Reason
    rules: ShadowRules | None = None


_LEGACY = Target(LEGACY)
UNROUTED = Decision("", _LEGACY, None, None, Reason.UNROUTED)
AMBIGUOUS = Decision("", _LEGACY, None, None, Reason.AMBIGUOUS)


@dataclass(frozen=True, slots=True)
class Claim:
    """A route's claim on a request: who answers is for its two flags to say."""

    route: str
    serve_flag: str
    shadow_flag: str
    decisions: dict[tuple[bool, bool, bool], Decision]
    """(serve flag, shadow flag, the serve flag is overridden) → Decision."""


class Policy:
    """All routes. `flags` may be replaced at any time: a decision that was made stays as it is."""

    def __init__(self, routes: Iterable[RouteRules], flags: Flags) -> None:
        self.flags = flags
        rules = list(routes)
        self._table = Table(route.pattern for route in rules)
        self._routes = {route.name: route for route in rules}
        self._claims = {route.name: Claim(route.name, route.serve_flag, route.shadow_flag, _decisions(route)) for route in rules}

    @property
    def routes(self) -> list[RouteRules]:
        return list(self._routes.values())

    def find(self, method: str, target: bytes) -> Claim | Decision:
        """Whose request it is. A route's: then it matters who is calling. A Decision: legacy's, whoever calls."""
        query = target.find(b"?")
        try:
            name = self._table.match(method, target if query < 0 else target[:query])
        except AmbiguousPathError:
            return AMBIGUOUS
        return UNROUTED if name is None else self._claims[name]

    def decide(self, claim: Claim, context: Context) -> Decision:
        """Who answers the request that `claim` is laid to, for the caller in `context`."""
        flags = self.flags
        serve, shadow = flags.enabled(claim.serve_flag, context), flags.enabled(claim.shadow_flag, context)
        return claim.decisions[serve, shadow, flags.overridden(claim.serve_flag)]

    @staticmethod
    def on_response(decision: Decision, method: str, status: int, *, replayable: bool) -> Target | None:
        """Asked when the head of an answer arrived: None relays it, a Target takes its place."""
        if status < 500 or decision.fallback is None or not may_repeat(method, replayable=replayable):
            return None
        return decision.fallback

    @staticmethod
    def on_failure(decision: Decision, failure: Failure, method: str, *, replayable: bool) -> Target | Problem:
        """Asked when an upstream failed before its answer began: who is asked instead, or what the client is told."""
        if decision.fallback is not None and may_go_elsewhere(failure, method, replayable=replayable):
            return decision.fallback
        return problem_of(failure, method)


def _decisions(route: RouteRules) -> dict[tuple[bool, bool, bool], Decision]:
    made = {}
    for serve_on, shadow_on, overridden in product((False, True), repeat=3):
        serve, other = (route.candidate, _LEGACY) if serve_on else (_LEGACY, route.candidate)
        made[serve_on, shadow_on, overridden] = Decision(
            route=route.name,
            serve=serve,
            fallback=_LEGACY if serve_on and route.fallback else None,
            shadow=other if shadow_on else None,
            reason=Reason.OVERRIDE if overridden else (Reason.FLAG_ON if serve_on else Reason.FLAG_OFF),
            rules=route.shadow,
        )
    return made
