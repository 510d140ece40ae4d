"""The configuration's rate limits, route by route, and the memory in which all workers of a gateway count for them.

The supervisor makes the memory and every worker inherits it: a worker that was started again goes on counting where the last one was, and a
reload forgets nobody.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Mapping
from ipaddress import IPv6Address
from math import ceil
from typing import Final, Literal

from gateway.identity.caller import Caller
from gateway.policy.limits import PLACE, Limit, Places
from gateway.settings import Config

PLACES: Final = 65_536
"""Clients, over all routes, that are counted at once: 1 MiB. Those who were quiet for long enough need no place."""
TOO_MANY: Final = "That was one request too many. Try again after as many seconds as Retry-After says."
"""The detail of the answer."""
_SECRET: Final = 64
"""Bytes at the beginning: a key by which nobody outside can tell which clients share a place."""
_SIZE: Final = _SECRET + PLACES * PLACE
_NAMES: Final = 10_000
"""Clients whose name need not be worked out again (1.5 µs); then it starts afresh."""


def make() -> int:
    """The memory, as a file descriptor for workers to inherit.

    Raises:
        OSError: there is none to be had.
    """
    descriptor = os.memfd_create("banyan-limits", os.MFD_CLOEXEC)
    os.truncate(descriptor, _SIZE)
    os.pwrite(descriptor, os.urandom(_SECRET), 0)
    return descriptor


class Memory:
    """Where a worker counts."""

    def __init__(self) -> None:
        self._use(memoryview(bytearray(os.urandom(_SECRET) + bytes(_SIZE - _SECRET))))

    def share(self, descriptor: int) -> None:
        """From now on in what `make` has made, with everybody else."""
        self._use(memoryview(mmap.mmap(descriptor, _SIZE)))

    def _use(self, memory: memoryview) -> None:
        self.secret = bytes(memory[:_SECRET])
        self.places = Places(memory[_SECRET:])


MEMORY: Final = Memory()
"""This process's. Its own until it is told of one to share."""


class RouteLimit:
    """One route's. `per`: whose requests are counted together."""

    __slots__ = ("_limit", "_names", "_route", "per")

    def __init__(self, route: str, per: Literal["client", "user", "route"], rate: float, burst: int) -> None:
        self.per = per
        self._route = route
        self._limit = Limit(rate, burst)
        self._names: dict[str, int] = {}

    def wait(self, address: str, caller: Caller | None) -> int:
        """0: it may pass, and is counted. Else whole seconds for Retry-After (RFC 9110, 10.2.3). `caller`: None where nobody has asked yet
        who that is; it matters where `per` is user, and whoever has no account is counted by his address there."""
        if self.per == "route":
            who = ""
        elif self.per == "user" and caller is not None and caller.user_id is not None:
            who = "\0" + caller.user_id
        else:
            who = address
        name = self._names.get(who)
        if name is None:
            if len(self._names) >= _NAMES:
                self._names.clear()
            name = self._names[who] = self._name(who)
        return ceil(MEMORY.places.take(name, self._limit, time.monotonic()))

    def _name(self, who: str) -> int:
        text = f"{self._route}\0{self.per}\0{network(who)}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=MEMORY.secret).digest()) or 1  # 0 is nobody


def network(address: str) -> str:
    """Whom an address stands for: an IPv6 client has at least a /64 to himself (RFC 6177, 2), and could come from another each time."""
    if ":" not in address or address.startswith("\0"):
        return address
    try:
        return IPv6Address(int(IPv6Address(address.partition("%")[0])) >> 64 << 64).compressed + "/64"
    except ValueError:
        return address


def limits_of(config: Config) -> Mapping[str, RouteLimit]:
    """Of the routes that have one."""
    return {
        route.name: RouteLimit(route.name, route.rate_limit.per, route.rate_limit.rate, route.rate_limit.most_at_once)
        for route in config.routes
        if route.rate_limit is not None
    }
