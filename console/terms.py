"""What a route's comparison and its gate go by in banyan.toml, for pages that say what a rule would change."""

from __future__ import annotations

from dataclasses import dataclass

from console import routes
from gateway.config import ConfigError
from gateway.settings.routes import Gate
from shadow.compare import Rules
from shadow.gate import Terms
from shadow.rules import from_configuration


@dataclass(frozen=True, slots=True)
class Configured:
    """A route's part of the configuration."""

    base: Rules
    gate: Terms
    known: bool = True
    """False: the console was not told of banyan.toml, or it has no such route; these are the defaults."""


def configured(route: str) -> Configured:
    """What banyan.toml says of `route` now."""
    try:
        config = routes.configuration()
    except (ConfigError, OSError):
        config = None  # the overview says what is wrong with it
    found = next((each for each in config.routes if each.name == route), None) if config is not None else None
    if found is None:
        return Configured(Rules(), Gate(), known=False)
    return Configured(from_configuration(found.shadow.compare.model_dump()), found.gate)
