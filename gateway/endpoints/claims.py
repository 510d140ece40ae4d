"""Which route of the configuration an endpoint belongs to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.endpoints.suggest import pattern
from gateway.policy.routing import AmbiguousPathError, Pattern, Table

if TYPE_CHECKING:
    from gateway.config import Config


class Claims:
    """Of one configuration; None has no routes."""

    def __init__(self, config: Config | None) -> None:
        found = config.routes if config is not None else []
        self.names = {route.name for route in found}
        self._table = Table([Pattern(route.name, route.match, frozenset(route.methods)) for route in found])

    def of(self, method: str, template: str) -> str:
        """Its name; "" for none."""
        path = "/".join("1" if "{" in part else part for part in pattern(template).split("/"))
        try:
            return self._table.match(method, path.encode()) or ""
        except AmbiguousPathError:
            return ""
