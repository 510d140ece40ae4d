"""Which routes a mesh can carry out, and how: from the configuration and the flags as they are, for any mesh.

Pure. Every doubt leaves the route with the gateway, and says why. What is not handed over goes on to the gateway, in its place among the
others: a route that is more specific is not swallowed by one that is handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from flags.plans import weights_of
from flags.settled import Settled, Unsettled, settled
from gateway.export import losses, paths
from gateway.export.losses import Loss
from gateway.policy.decision import LEGACY, MIRRORED
from gateway.policy.splitter import RANDOM, usable
from gateway.settings import Compare, Config, Gate, Route

_LATER: Final = "whoever turns it on later would turn on nothing"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Who is sent copies of requests."""

    upstream: str
    share: float
    """Of the requests: more than 0, 1 at the most."""
    methods: frozenset[str]
    """Of the route's, those that are copied: none of them writes."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of those who answer."""

    upstream: str
    weight: int
    rewrite: str | None = None
    host: str | None = None
    mirror: Mirror | None = None


@dataclass(frozen=True, slots=True)
class Handing:
    """A route as a mesh is to carry it out."""

    route: str
    match: str
    methods: tuple[str, ...]
    """Empty: every method."""
    shares: tuple[Share, ...]
    """Where there are several, each request is given to one of them by dice."""
    candidate: bool = True
    """They are a candidate and legacy, and their weights of 100; else providers."""

    @property
    def upstreams(self) -> list[str]:
        """All that are sent anything."""
        every = [name for share in self.shares for name in (share.upstream, share.mirror.upstream if share.mirror else share.upstream)]
        return list(dict.fromkeys(every))


@dataclass(frozen=True, slots=True)
class Entry:
    """A pattern in its place among all of them."""

    route: str
    match: str
    methods: tuple[str, ...]
    handing: Handing | None
    """None: the gateway still decides."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mesh is told."""

    entries: tuple[Entry, ...]
    """In the order in which they are to be tried."""
    refused: Mapping[str, tuple[Loss, ...]]
    """Of each route that was to be handed over and is not, why."""
    given_up: Mapping[str, tuple[Loss, ...]]
    """Of each that is, what its people do without."""

    @property
    def handed(self) -> list[Handing]:
        """What the mesh carries out."""
        return [entry.handing for entry in self.entries if entry.handing is not None]

    @property
    def upstreams(self) -> list[str]:
        """All that are sent anything."""
        return list(dict.fromkeys(name for handing in self.handed for name in handing.upstreams))


Unsayable = Callable[[Handing], Iterable[Loss]]
"""What a certain mesh cannot say of it."""


@dataclass(frozen=True, slots=True)
class FlagState:
    """The flags as they are now."""

    features: Mapping[str, Mapping[str, Any]]
    overridden: Collection[str] = ()
    """Those that somebody has overridden for a while."""
    refused: Mapping[str, str] = MappingProxyType({})
    """Those that are malformed, and why; they are off."""


def plan(config: Config, flags: FlagState, unsayable: Unsayable, *, only: Collection[str] = (), give_up: Collection[str] = ()) -> Plan:
    """`only`: these routes; by default all. `give_up`: codes of losses that are accepted (losses.GIVEN_UP)."""
    entries: list[Entry] = []
    refused: dict[str, tuple[Loss, ...]] = {}
    given_up: dict[str, tuple[Loss, ...]] = {}
    for route in config.routes:
        handing = None
        if not only or route.name in only:
            handing, found = _handing(config, flags, route)
            if handing is not None:
                found += unsayable(handing)
                found += [loss for name in handing.upstreams for loss in losses.of_upstream(config, name)]
            kept = tuple(loss for loss in found if not (loss.optional and loss.code in give_up))
            if kept:
                handing = None
                refused[route.name] = kept
            elif found:
                given_up[route.name] = tuple(found)
        entries.append(Entry(route.name, route.match, tuple(sorted(route.methods)), handing))
    entries.sort(key=lambda entry: paths.order(entry.match, entry.methods))
    while entries and entries[-1].handing is None:
        entries.pop()  # the rest goes there in any case
    return Plan(tuple(entries), refused, given_up)


def _handing(config: Config, flags: FlagState, route: Route) -> tuple[Handing | None, list[Loss]]:
    """How it is to be carried out, and what stands against that. None: nobody could say."""
    found = list(_path(route))
    anonymous = route.identity == "ignored" or config.identity.source == "none"
    anonymous = anonymous and config.identity.visitor is None
    for flag in route.flags:
        if flag in flags.overridden:
            lost = "the mesh would keep for good what was meant for a while"
            found.append(Loss("flag-override", f"the flag {flag} is overridden on a gateway, for a while", lost))
        if flag in flags.refused:
            found += losses.of_flag(flag, [Unsettled("malformed", f"is malformed ({flags.refused[flag]})")])
        if config.flags.impressions and flags.features.get(flag, {}).get("impressionData") is True:
            found.append(Loss("impressions", f"each decision of the flag {flag} is written to flags.impressions", "none is written"))
    shares = _providers(flags, route, anonymous, found) if route.split else _sides(flags, route, anonymous, found)
    serving = any(share.upstream == route.candidate for share in shares)
    found += losses.of_route(config, route, candidate_serves=serving)
    if not shares:
        return None, found
    return Handing(route.name, route.match, tuple(sorted(route.methods)), shares, not route.split), found


def _path(route: Route) -> Iterator[Loss]:
    lost = "other requests than the gateway's would meet the route"
    if why := paths.unsayable(route.match):
        yield Loss("path", f"match = {route.match!r}: {why}", lost)


def _providers(flags: FlagState, route: Route, anonymous: bool, found: list[Loss]) -> tuple[Share, ...]:
    """Of a split route."""
    weights: Mapping[str, int] = route.split
    state = settled(route.split_flag, flags.features, anonymous=anonymous)
    if isinstance(state, list):
        found += losses.of_flag(route.split_flag, state)
        return ()
    if 0 < state.percent < 100:
        lost = "the mesh has one set of weights, and no dice that choose between two"
        found.append(Loss("split-flag", f"the flag {route.split_flag} moves the weights of {state.percent} % of the requests only", lost))
        return ()
    if state.percent:
        moved = weights_of(flags.features[route.split_flag])
        if moved is not None and usable(moved, weights):
            weights = moved
    shares = tuple(Share(name, weight) for name, weight in sorted(weights.items()) if weight > 0)
    if len(shares) > 1 and route.sticky != RANDOM:
        lost = "a caller would meet another provider at each request"
        found.append(Loss("split-sticky", f'sticky = "{route.sticky}": a caller keeps its provider', lost))
    return shares


def _sides(flags: FlagState, route: Route, anonymous: bool, found: list[Loss]) -> tuple[Share, ...]:
    """Of a route with a candidate."""
    serve = settled(route.serve_flag, flags.features, anonymous=anonymous)
    shadow = settled(route.shadow_flag, flags.features, anonymous=anonymous)
    for flag, state in ((route.serve_flag, serve), (route.shadow_flag, shadow)):
        if isinstance(state, list):
            found += losses.of_flag(flag, state)
    if not isinstance(serve, Settled) or not isinstance(shadow, Settled):
        return ()
    copied = route.shadow.sample * shadow.percent / 100
    methods = _copied(route, found) if copied else frozenset()
    if not methods:
        copied = 0.0
    if not serve.percent and not copied:
        found.append(Loss("flag-off", f"the flag {route.serve_flag} is off, and nothing is compared: legacy answers", _LATER))
        return ()
    if 0 < serve.percent < 100 and copied and copied < 1:
        lost = "a proxy throws its dice once a request: those that the candidate answers would be the ones that are copied"
        found.append(Loss("dice-twice", f"{serve.percent} % are served and {100 * copied:g} % compared, by dice of their own", lost))
    shares = []
    for name, other, weight in ((route.candidate, LEGACY, serve.percent), (LEGACY, route.candidate, 100 - serve.percent)):
        if weight:
            mirror = Mirror(other, copied, methods) if methods else None
            rewrite, host = (route.rewrite, route.host) if name == route.candidate else (None, None)
            shares.append(Share(name, weight, rewrite, host, mirror))
    return tuple(shares)


def _copied(route: Route, found: list[Loss]) -> frozenset[str]:
    """The methods whose requests are copied."""
    shadow = route.shadow
    methods = [method for method in shadow.methods if not route.methods or method in route.methods]
    if writes := sorted(set(methods) - MIRRORED):
        why = f"{', '.join(writes)} are compared in the sandbox, marked with Banyan-Shadow: 1"
        found.append(Loss("mirror-writes", why, "no mesh is sure to mark its copies: they would be executed a second time"))
    if route.rewrite is not None or route.host is not None:
        why = "legacy and candidate are asked for different paths, or by different hosts"
        found.append(Loss("mirror-rewrite", why, "a mesh sends a copy as it sends the request: the wrong one to one of them"))
    if shadow.compare != Compare() or shadow.noise or route.gate != Gate():
        why = "both answers are compared, by rules of the route's own"
        found.append(Loss("comparison", why, "the mesh throws the answers to its copies away: no signatures, no report, no gate"))
    return frozenset(methods) & MIRRORED
