"""Where requests go that the mesh does not carry out, and where upstreams are found by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.settings import Config


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What banyan.toml does not say of the mesh."""

    rest: Literal["gateway", "legacy"]
    """Who gets what no route that is handed over matches. legacy: there is no gateway any more."""
    gateway: tuple[str, int]
    """Where the mesh finds the gateway: host and port. ("", 0) where it is not needed."""
    services: Mapping[str, tuple[str, int]]
    """Where it finds an upstream, if not where banyan.toml says: host and port, spoken to in plain HTTP."""

    def places(self, config: Config, upstream: str) -> list[tuple[str, int, str]]:
        """Its addresses: host, port, path of a unix socket."""
        found = self.services.get(upstream)
        return config.upstreams[upstream].places if found is None else [(*found, "")]

    def secure(self, config: Config, upstream: str) -> bool:
        """Is it spoken to over TLS?"""
        return upstream not in self.services and config.upstreams[upstream].secure


def numeric(host: str) -> bool:
    """It is an address, and no name."""
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def duration(seconds: float) -> str:
    """As protobuf's JSON writes it: "1.5s"."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
