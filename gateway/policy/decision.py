"""Who answers this request, who is asked beside, and why: the question that Banyan exists for.

Pure: no socket, no clock, no chance of its own. Both engines ask the same Policy at the same moments: request head (`decide`),
response head (`on_response`) and failure (`on_failure`). Every doubt ends at legacy: flag off, unknown or unreadable, path ambiguous,
candidate failed.

A Decision holds nothing of the request, so the few that a route can have are made once, when the policy is built.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from flags.snapshot import Context, Flags
from gateway.policy.failover import may_go_elsewhere, may_repeat, problem_of
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.policy.routing import AmbiguousPathError, Pattern, Rewrite, Table
from gateway.policy.splitter import RANDOM, USER, Splitter

LEGACY: Final = "legacy"
MIRRORED: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing, and so may be sent to anybody a second time (RFC 9110, 9.2.1)."""


class Reason(StrEnum):
    """Why a request went where it went."""

    UNROUTED = "unrouted"
    AMBIGUOUS = "ambiguous-path"
    FLAG_ON = "flag"
    FLAG_OFF = "flag-off"
    SPLIT = "split"
    """It is one of the callers of one of several providers."""
    OVERRIDE = "override"
    """A person set the flag on this gateway for a while (`banyan flags override`), past where it lives."""
    REPLAYED = "replayed"
    """The same request was answered before: it gets that answer, from the ledger."""
    PINNED = "pinned"
    """The same request was sent to this provider before, and is in doubt there: it goes to no other."""


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

    methods: frozenset[str] = MIRRORED
    """Of what is mirrored to the side that does not serve. What is no sandbox gets nothing but MIRRORED."""
    sample: float = 1.0
    capture: int = 256 * 1024
    noise: float = 0.0
    withheld: frozenset[str] = frozenset()
    """Methods that are compared while legacy serves, and not now: legacy is in the shadow, and is no sandbox."""

    def skips(self, method: str) -> str:
        """Why a request with this method, which is not among `methods`, is not mirrored: the reason as it is counted."""
        return "no_sandbox" if method in self.withheld else "method"

    def noisy(self, method: str, serve: Target) -> bool:
        """Whether a request may be sent to legacy a second time, to see in what legacy differs from itself. Never a write, sandbox or not:
        legacy has executed it already."""
        return bool(self.noise) and serve.upstream == LEGACY and method in MIRRORED

    def after_the_switch(self, sandbox: bool) -> ShadowRules:
        """The same while the candidate serves. `sandbox`: legacy does nothing with a write that is marked as a shadow."""
        writes = self.methods - MIRRORED
        if sandbox or not writes:
            return self
        return ShadowRules(self.methods & MIRRORED, self.sample, self.capture, self.noise, writes)


@dataclass(frozen=True, slots=True)
class RouteRules:
    """One route as the policy sees it."""

    pattern: Pattern
    candidate: Target
    serve_flag: str
    shadow_flag: str
    fallback: bool = True
    shadow: ShadowRules = ShadowRules()
    sandbox_legacy: bool = False
    """Legacy may be sent writes as a shadow, after the switch."""
    guarded: bool = False

    @property
    def name(self) -> str:
        return self.pattern.name


@dataclass(frozen=True, slots=True)
class SplitRules:
    """A route with several providers: no candidate, nobody to answer in its place, and nothing to compare."""

    pattern: Pattern
    weights: Mapping[str, int]
    flag: str
    sticky: str = USER
    failover: bool = False
    """Another provider may be asked, where that can execute nothing twice."""
    ledger: bool = False
    """What writes is kept in the ledger, by its Idempotency-Key, and never executed twice."""
    require_key: bool = False
    """What writes without one is refused."""

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
    guarded: bool = False
    """What comes of it is counted for the route's guard."""


_LEGACY = Target(LEGACY)
UNROUTED = Decision("", _LEGACY, None, None, Reason.UNROUTED)
AMBIGUOUS = Decision("", _LEGACY, None, None, Reason.AMBIGUOUS)


class Claim:
    """A route's claim on a request: who answers is for its flags to say, and depends on who is calling."""

    def __init__(self, route: str, flags: Mapping[str, str]) -> None:
        self.route = route
        self.flags = flags
        """Those that it reads, and the role of each: serve and shadow, or split."""
        self.field = ""
        """The header field, in lower case, whose value `decide` wants to know; "" for none."""
        self.careful = False
        """Of several providers another may be asked, or what is sent to one is kept in the ledger: gateway/net/payment.py."""

    def decide(self, flags: Flags, context: Context, by: str = "") -> Decision:
        """Who answers, for the caller in `context`. `by`: what the field says."""
        raise NotImplementedError

    def by_session(self, flags: Flags) -> bool:
        """Whether it matters which session, or visitor, is asking."""
        raise NotImplementedError


class CandidateClaim(Claim):
    """Of a route with a candidate: two flags say who answers, and whether that is compared."""

    def __init__(self, rules: RouteRules) -> None:
        super().__init__(rules.name, {rules.serve_flag: "serve", rules.shadow_flag: "shadow"})
        self._serve_flag = rules.serve_flag
        self._shadow_flag = rules.shadow_flag
        self._decisions = _decisions(rules)
        """By what the flags say of both."""

    def decide(self, flags: Flags, context: Context, by: str = "") -> Decision:
        return self._decisions[flags.both(self._serve_flag, self._shadow_flag, context)]

    def by_session(self, flags: Flags) -> bool:
        return flags.by_session(self._serve_flag)


class SplitClaim(Claim):
    """Of a route with several providers: its flag says how much of the callers each of them gets."""

    def __init__(self, rules: SplitRules, chance: Callable[[], float]) -> None:
        super().__init__(rules.name, {rules.flag: "split"})
        self.splitter = Splitter(rules.name, rules.weights, rules.flag, rules.sticky, chance)
        self.rules = rules
        self.field = self.splitter.field
        self.careful = rules.failover or rules.ledger
        self._made = {(name, by_hand): _split_to(rules.name, name, by_hand) for name, by_hand in product(rules.weights, (False, True))}
        """(provider, the flag is overridden) → Decision."""

    def decide(self, flags: Flags, context: Context, by: str = "") -> Decision:
        splitter = self.splitter
        return self._made[splitter.choose(flags, context, by), flags.overridden(splitter.flag)]

    def elsewhere(self, flags: Flags, context: Context, by: str, tried: Collection[str]) -> Target | None:
        """Who is asked in the place of those in `tried`, to whom nothing was sent; None: nobody may be."""
        found = self.splitter.next(flags, context, by, tried) if self.rules.failover else None
        return None if found is None else Target(found)

    def by_session(self, flags: Flags) -> bool:
        return (self.splitter.sticky != RANDOM and not self.field) or flags.by_session(self.splitter.flag)


class Policy:
    """All routes. `flags` may be replaced at any time: a decision that was made stays as it is. `chance` gives numbers in [0, 1)."""

    def __init__(self, routes: Iterable[RouteRules | SplitRules], flags: Flags, chance: Callable[[], float]) -> None:
        self.flags = flags
        rules = list(routes)
        self._table = Table(route.pattern for route in rules)
        self._routes = {route.name: route for route in rules}
        self._claims: dict[str, Claim] = {
            route.name: SplitClaim(route, chance) if isinstance(route, SplitRules) else CandidateClaim(route) for route in rules
        }

    @property
    def routes(self) -> list[RouteRules | SplitRules]:
        return list(self._routes.values())

    def find(self, method: str, target: bytes) -> Claim | Decision:
        """Whose request it is. A route's: then it matters who is calling. A Decision: legacy's, whoever calls."""
        query = target.find(b"?")
        try:
            name = self._table.match(method, target if query < 0 else target[:query])
        except AmbiguousPathError:
            return AMBIGUOUS
        return UNROUTED if name is None else self._claims[name]

    def decide(self, claim: Claim, context: Context, by: str = "") -> Decision:
        """Who answers the request that `claim` is laid to, for the caller in `context`. `by`: what its field says, if it has one."""
        return claim.decide(self.flags, context, by)

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


def _split_to(route: str, provider: str, overridden: bool) -> Decision:
    return Decision(route, Target(provider), None, None, Reason.OVERRIDE if overridden else Reason.SPLIT)


def _decisions(route: RouteRules) -> list[Decision]:
    made = []
    after = route.shadow.after_the_switch(route.sandbox_legacy)
    for overridden, shadow_on, serve_on in product((False, True), repeat=3):  # as `Flags.both` counts them
        serve, other = (route.candidate, _LEGACY) if serve_on else (_LEGACY, route.candidate)
        made.append(
            Decision(
                route=route.name,
                serve=serve,
                fallback=_LEGACY if serve_on and route.fallback else None,
                shadow=other if shadow_on else None,
                reason=Reason.OVERRIDE if overridden else (Reason.FLAG_ON if serve_on else Reason.FLAG_OFF),
                rules=after if serve_on else route.shadow,
                guarded=route.guarded,
            )
        )
    return made
