"""What each route needs to know of its caller, and what of a request says it: read from the configuration once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.identity.credential import Credential
from gateway.policy.admission import Need
from gateway.settings import Config


@dataclass(frozen=True, slots=True)
class Rule:
    """One route's."""

    need: Need
    credential: Credential
    challenge: bytes
    """For the answer to whoever has none (RFC 9110, 11.6.1). For cookies no scheme is registered: it says at least what is looked at."""


def rules(config: Config) -> dict[str, Rule]:
    """By route. Those that need to know nothing are not among them, and none is where nobody is asked."""
    if config.identity.source == "none":
        return {}
    general = Credential(*config.identity.credential)
    found = {}
    for route in config.routes:
        if route.identity != "ignored":
            own = route.credential
            credential = general if own is None else Credential(own.cookie, own.scheme)
            challenge = f'{credential.scheme or "Cookie"} realm="banyan"'.encode()
            found[route.name] = Rule(Need(route.identity), credential, challenge)
    return found


def sessions(by_route: Mapping[str, Rule]) -> tuple[Credential, ...]:
    """The cookies that say who calls, each once: where one ends, it ends for every route that looks at it, whatever stands beside."""
    return tuple(Credential(name, "") for name in sorted({rule.credential.cookie for rule in by_route.values() if rule.credential.cookie}))
