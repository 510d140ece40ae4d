"""What a worker needs to judge calls between domains: the order, each route's domain, and the stamps that name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.domains.passed_on import PassedOn
from gateway.identity.stamp import ENTRIES, Stamps
from gateway.identity.stamping import keys, stamps
from gateway.policy.domains import OTHER, Order, Verdict
from gateway.settings import Config

_FEWEST: Final = 1000
"""Stamps that are remembered for each domain, of however many."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One call from a service, through the gateway, to what it asked for."""

    caller: str
    domain: str
    """What is called."""
    verdict: Verdict

    def logged(self, line: bytes) -> bytes:
        """The request's line of the access log, with this in it. Names of domains hold nothing that JSON would escape."""
        told = f',"caller_domain":"{self.caller}","domain":"{self.domain}","direction":"{self.verdict}"}}\n'
        return line[:-2] + told.encode()


class Crossings:
    """See the module's docstring. `before`: those that these replace; stamps that would be the same go on."""

    def __init__(self, config: Config, before: Crossings | None = None) -> None:
        settings, stamp = config.domains, config.identity.stamp
        assert settings is not None  # noqa: S101 - `crossings`, below
        assert stamp is not None  # noqa: S101 - the settings see to it
        self.order = Order(settings.order)
        self.block = settings.enforce == "block"
        self.routes = domains(config)
        self._passed_on = PassedOn(keys(config), stamp.issuer)
        used = sorted({domain for domain in self.routes.values() if domain})
        each = max(_FEWEST, ENTRIES // max(1, len(used)))
        known = before.stamps if before is not None else {}
        self.stamps: dict[str, Stamps] = {}
        """By domain."""
        for domain in used:
            made = stamps(config, known.get(domain), domain=domain, entries=each)
            assert made is not None  # noqa: S101 - there is a key
            self.stamps[domain] = made

    def of(self, route: str) -> Stamps | None:
        """What requests of a route are stamped by; None: its domain is not known."""
        return self.stamps.get(self.routes.get(route, ""))

    def crossing(self, stamp: bytes, route: str, target: bytes, now: float) -> Crossing | None:
        """The call that a request with this stamp is; None: its stamp is not good. `route`: "" where none matches, and the path says it."""
        caller = self._passed_on.domain(stamp, now)
        if caller is None:
            return None
        domain = self.routes.get(route) or self.order.of_path(target.decode("latin-1")) or OTHER
        return Crossing(caller or OTHER, domain, self.order.verdict(caller, domain))


def crossings(config: Config, before: Crossings | None = None) -> Crossings | None:
    """For a worker. None: nobody looks."""
    if config.domains is None or config.domains.enforce == "off":
        return None
    return Crossings(config, before)


def domains(config: Config) -> dict[str, str]:
    """Route → its domain, by its key `domain` or by its path; "" where neither says one of the order."""
    if config.domains is None:
        return {}
    order = Order(config.domains.order)
    return {route.name: route.domain or order.of_path(route.match) for route in config.routes}
