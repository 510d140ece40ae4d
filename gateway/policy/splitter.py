"""Which of several providers answers: each gets its share of the callers, and each caller keeps meeting the same one.

By weighted rendezvous hashing. Rendezvous: every provider draws a number for the caller, the same one each time, and the best draw wins
(Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998). Weighted, by
the logarithmic method: the draw u, even in (0, 1], counts as -ln(u) / weight, and the least wins, which each does with a chance of exactly
its weight over the sum (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).

What follows from that, whoever decides, in whichever worker or gateway, with no state that could be lost:
- A caller stays with a provider as long as the weights stay, or all change in proportion.
- A caller goes over from one provider to another only if the weight of the other has grown, measured by that of the first. So of two
  providers, or where one weight of many is changed, no more callers change than the difference of the shares.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from math import log
from typing import Final

from flags.snapshot import Context, Flags

USER: Final = "user"
SESSION: Final = "session"
RANDOM: Final = "random"
CALLERS: Final = frozenset((USER, SESSION, RANDOM))
KEY: Final = "idempotency-key"
HEADER: Final = "header:"

_DRAWS: Final = 2.0**64


class Draw:
    """One provider's part in the choice."""

    __slots__ = ("_seed", "provider", "weight")

    def __init__(self, route: str, provider: str, weight: int) -> None:
        self.provider = provider
        self.weight = weight
        # Neither name has a NUL in it, so no two pairs are the same bytes. The route's is there so that two routes draw anew.
        self._seed = blake2b(f"{route}\0{provider}\0".encode(), digest_size=8)

    def cost(self, caller: bytes) -> float:
        """Of this provider for `caller`; the least wins. 0 or more."""
        seed = self._seed.copy()
        seed.update(caller)
        return -log((int.from_bytes(seed.digest(), "big") + 1) / _DRAWS) / self.weight


class Shares:
    """Providers and their weights. Equal ones choose equally, in whichever order they were given."""

    __slots__ = ("_draws", "_total", "weights")

    def __init__(self, route: str, weights: Mapping[str, int]) -> None:
        self.weights = dict(weights)
        self._draws = [Draw(route, name, weights[name]) for name in sorted(weights) if weights[name] > 0]
        self._total = sum(draw.weight for draw in self._draws)

    def of(self, caller: bytes) -> str:
        """Whom `caller` meets."""
        best = self._draws[0]
        if len(self._draws) == 1:
            return best.provider
        least = best.cost(caller)
        for draw in self._draws[1:]:
            cost = draw.cost(caller)
            if cost < least:
                best, least = draw, cost
        return best.provider

    def rank(self, caller: bytes) -> list[str]:
        """All whom `caller` may meet, the one whom he does first, and then whom he would meet without those before."""
        return [draw.provider for draw in sorted(self._draws, key=lambda draw: draw.cost(caller))]

    def at(self, place: float) -> str:
        """Whom somebody meets for whom a die has fallen on `place`, in [0, 1)."""
        left = place * self._total
        for draw in self._draws:
            left -= draw.weight
            if left < 0:
                return draw.provider
        return self._draws[-1].provider  # what is left is rounding


class Splitter:
    """One split route: its providers, by whose weights they are chosen now, and by what a caller is known.

    `configured`: one provider or more, each of a weight above 0. `sticky`: USER, SESSION, RANDOM, KEY, or HEADER and a field's name.
    `chance`: a number in [0, 1), a new one each time.
    """

    def __init__(self, route: str, configured: Mapping[str, int], flag: str, sticky: str, chance: Callable[[], float]) -> None:
        self.flag = flag
        self.sticky = sticky
        self.field = field_of(sticky)
        """The header field, in lower case, by whose value a request keeps its provider; "" where that is a matter of who calls."""
        self.configured = Shares(route, configured)
        self._route = route
        self._chance = chance
        self._told: Mapping[str, int] | None = None
        self._moved = self.configured
        """What came of `_told`. The flags give the same object until they change."""

    def choose(self, flags: Flags, context: Context, by: str = "") -> str:
        """The provider for the caller in `context`, or for whoever comes with the value `by` in the field."""
        shares = self.shares(flags, context)
        found = shares.at(self._chance()) if self.sticky == RANDOM else shares.of(known_by(self.sticky, context, by)[1])
        flags.chose(self.flag, "" if shares is self.configured else found)
        return found

    def next(self, flags: Flags, context: Context, by: str, tried: Collection[str]) -> str | None:
        """Whom the same request meets when those in `tried` could not be reached; None: there is nobody left."""
        caller = str(self._chance()).encode() if self.sticky == RANDOM else known_by(self.sticky, context, by)[1]
        for provider in self.shares(flags, context).rank(caller):
            if provider not in tried:
                return provider
        return None

    def shares(self, flags: Flags, context: Context) -> Shares:
        """Those in force for the caller: the flag's where it is on for him and its variants can be used, else the configured."""
        if not flags.enabled(self.flag, context):
            return self.configured
        told = flags.weights(self.flag)
        if told is not self._told:
            self._told = told
            usable_now = told is not None and usable(told, self.configured.weights)
            self._moved = Shares(self._route, told) if told is not None and usable_now else self.configured
        return self._moved


def usable(weights: Mapping[str, int], providers: Iterable[str]) -> bool:
    """Whether a flag's variants can be the shares of these providers. One that is none of them would send requests to nowhere, or to
    somebody who was never meant to have them. A provider that has no variant gets nothing.
    """
    known = set(providers)
    return all(name in known and weight >= 0 for name, weight in weights.items()) and any(weights.values())


def field_of(sticky: str) -> str:
    """The header field, in lower case, that is meant; "" for none."""
    return "" if sticky in CALLERS else sticky.removeprefix(HEADER).lower()


def known_by(sticky: str, context: Context, by: str = "") -> tuple[str, bytes]:
    """By what the caller stays the same: the name of it in Unleash's words, or the header field, and its value, told from the same one of
    another kind. `by`: what the field says, where `sticky` names one; a request without it is known by its user."""
    if by:
        name = field_of(sticky)
        return name, f"{name}\0{by}".encode("utf-8", "surrogatepass")
    by_user = sticky != SESSION
    first, second = (context.user_id, context.session_id) if by_user else (context.session_id, context.user_id)
    names = ("userId", "sessionId") if by_user else ("sessionId", "userId")
    if first is not None:
        name, value = names[0], first
    elif second is not None:
        name, value = names[1], second
    else:
        name, value = "remoteAddress", context.remote_address or ""
    return name, f"{name}\0{value}".encode("utf-8", "surrogatepass")
