"""The graph of calls between domains: what was seen, what goes against the order, and the circles in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.policy.domains import OTHER, Order, Verdict, domain_of
from gateway.settings import Config


@dataclass(frozen=True, slots=True)
class Call:
    """All calls from one domain to another."""

    caller: str
    domain: str
    calls: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Fault:
    """A route whose domain is not told by its path."""

    route: str
    match: str
    why: str


@dataclass(slots=True)
class Graph:
    """What was seen, judged by the order as it is configured now."""

    order: Order
    calls: list[Call]
    cycles: list[list[str]] = field(default_factory=list)
    """Domains that call one another in a circle, each begun with the earliest in the order."""
    faults: list[Fault] = field(default_factory=list)

    @property
    def against(self) -> list[Call]:
        return [call for call in self.calls if call.verdict is Verdict.AGAINST]

    @property
    def ok(self) -> bool:
        """No call goes against the order, there is no circle, and every route says where it belongs."""
        return not (self.against or self.cycles or self.faults)


def graph(order: Order, seen: Mapping[tuple[str, str], int], faults: Sequence[Fault] = ()) -> Graph:
    """Of calls, by (caller, called)."""
    calls = [Call(caller, domain, count, order.verdict(caller, domain)) for (caller, domain), count in sorted(seen.items()) if count]
    edges: dict[str, set[str]] = {}
    for call in calls:
        # Other is many, of which the one that was called need not be the one that calls: by it nobody is shown to come round.
        if call.caller != call.domain and OTHER not in (call.caller, call.domain):
            edges.setdefault(call.caller, set()).add(call.domain)
    place = {name: number for number, name in enumerate(order.names)}
    circles = [sorted(circle, key=lambda name: (place.get(name, len(place)), name)) for circle in cycles(edges)]
    return Graph(order, calls, sorted(circles), list(faults))


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972), without recursion: a path may be as long as there are nodes.

    Each is a set of domains of which every one reaches every other; within it there is a circle, and outside of them there is none.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in sorted(edges):
        if root in index:
            continue
        work = [(root, iter(sorted(edges.get(root, ()))))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(sorted(edges.get(other, ())))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        found.append(component)
    return found


def lint(config: Config, order: Order) -> list[Fault]:
    """The routes that /api/{version}/{domain} does not tell the domain of, and those that say otherwise than their path."""
    faults = []
    for route in config.routes:
        named = domain_of(route.match)
        why = ""
        if route.domain:
            if named in order and named != route.domain:
                why = f"its path says {named}, and its key domain {route.domain}"
        elif not named:
            why = "its path is not /api/{version}/{domain}/…, and it has no key domain"
        elif named not in order:
            why = f"{named} is not in the order, and it has no key domain"
        if why:
            faults.append(Fault(route.name, route.match, why))
    return faults


def of_log(lines: Iterable[bytes]) -> tuple[dict[tuple[str, str], int], int]:
    """(the calls in an access log, how many of its lines could not be read)"""
    seen: dict[tuple[str, str], int] = {}
    unread = 0
    for line in lines:
        if b'"caller_domain"' not in line:
            continue
        try:
            told = json.loads(line)
            pair = (str(told["caller_domain"]), str(told["domain"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            unread += 1
            continue
        seen[pair] = seen.get(pair, 0) + 1
    return seen, unread
