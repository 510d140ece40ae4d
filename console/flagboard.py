"""What the pages show of the flags: of each one, and of where they come from. Built from the last look at the gateway, without asking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import flagwords
from console.admin_port import FlagsNow, Override
from console.watch import Look
from gateway.config import Config
from gateway.splits import standing

STALE_SECONDS: Final = 10.0
"""A source that has not confirmed its state for longer is shown as a warning: it is asked several times a second."""
SOURCES: Final = {
    "unleash": "Unleash",
    "file": gettext_lazy("the flag file"),
    "backup": gettext_lazy("the backup of Unleash\N{RIGHT SINGLE QUOTATION MARK}s flags"),
    "none": gettext_lazy("nowhere: every flag is off, and legacy answers everything"),
}


@dataclass(frozen=True, slots=True)
class FlagView:
    """One flag as the pages show it."""

    name: str
    uses: tuple[tuple[str, str], ...]
    """(route, what the flag decides there)."""
    on: bool | None
    """None: not known."""
    words: str
    override: Override | None
    problems: tuple[str, ...]
    link: str
    """To it in Unleash; "" where it does not live there."""
    shares: tuple[tuple[str, str], ...] = ()
    """(split route that reads it, the providers' shares there and where they are from, in words)."""

    @property
    def role(self) -> str:
        """What it decides, where it stands beside its route."""
        return self.uses[0][1] if self.uses else ""


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One of several gateways."""

    address: str
    """Of its admin port."""
    shown: bool
    """Its state is what the page shows."""
    error: str
    """Why it told nothing when it was last asked."""
    unlike: tuple[str, ...] | None
    """Flags that are otherwise there than at the one that is shown; None: not looked for."""

    @property
    def wrong(self) -> bool:
        return bool(self.error or self.unlike)


class Board:
    """The flags of a configuration at one moment. `look` is None where nobody looks at the gateway."""

    def __init__(self, config: Config, look: Look | None, looks: Sequence[Look] = ()) -> None:
        """`look` is what is shown; `looks` are those at every gateway, where there are several."""
        self.look = look
        self.looks = tuple(looks) or ((look,) if look is not None else ())
        self.now = look.now if look is not None else None
        self._ui = ui(config)
        self._roles: dict[str, list[tuple[str, str]]] = {}
        self._routes: dict[str, tuple[str, ...]] = {}
        self._splits: dict[str, dict[str, dict[str, int]]] = {}
        """Flag → split route → its configured weights."""
        for route in config.routes:
            self._routes[route.name] = tuple(route.flags)
            if route.split:
                self._splits.setdefault(route.split_flag, {})[route.name] = route.split
            for flag, role in route.flags.items():
                self._roles.setdefault(flag, []).append((route.name, role))

    # Where the flags come from

    @property
    def source(self) -> str:
        return str(SOURCES.get(self.now.source, self.now.source)) if self.now else ""

    @property
    def confirmed(self) -> float | None:
        """Unix seconds."""
        return self.look.confirmed if self.look else None

    @property
    def stale(self) -> bool:
        """Whether nobody should rely on it without a look: it is old, or its source is in trouble."""
        confirmed = self.confirmed
        return self.now is not None and (bool(self.now.error) or confirmed is None or time.time() - confirmed > STALE_SECONDS)

    @property
    def away(self) -> bool:
        """Whether the gateway gave no answer."""
        return self.look is None or bool(self.look.error)

    @property
    def warns(self) -> bool:
        return self.away or self.stale or bool(self.behind) or any(each.wrong for each in self.gateways)

    @property
    def revision(self) -> str:
        return self.now.revision[:8] if self.now else ""

    @property
    def behind(self) -> list[str]:
        """Workers that do not decide by this revision yet."""
        return [name for name, current in self.now.workers.items() if not current] if self.now else []

    @property
    def gateways(self) -> list[GatewayView]:
        """Every gateway, where there are several."""
        return [self._gateway(each) for each in self.looks] if len(self.looks) > 1 else []

    def _gateway(self, look: Look) -> GatewayView:
        shown = self.look is not None and look.address == self.look.address
        if look.error:
            return GatewayView(look.address, shown, look.error, None)
        if look.now is None or self.now is None or shown:
            return GatewayView(look.address, shown, "", None)
        here, there = _state(self.now), _state(look.now)
        unlike = sorted(flag for flag in here.keys() | there.keys() if here.get(flag) != there.get(flag))
        return GatewayView(look.address, shown, "", tuple(unlike))

    # The flags

    def of(self, route: str) -> tuple[FlagView, ...]:
        """The flags of a route; none where the configuration does not have it."""
        return tuple(self._view(flag, [use for use in self._roles[flag] if use[0] == route]) for flag in self._routes.get(route, ()))

    def every(self) -> list[FlagView]:
        """Every flag that a route reads, and those that the gateway names beside them."""
        also = [*self.now.overrides, *(problem.flag for problem in self.now.problems)] if self.now else []
        return [self._view(flag, self._roles.get(flag, [])) for flag in dict.fromkeys([*self._roles, *also])]

    def _view(self, flag: str, uses: list[tuple[str, str]]) -> FlagView:
        now = self.now
        override = now.overrides.get(flag) if now else None
        if override is not None and override.until < time.time():
            override = None  # the gateway was not heard since
        problems = tuple(item.problem for item in now.problems if item.flag == flag) if now else ()
        link = f"{self._ui}/{quote(flag, safe='')}" if self._ui else ""
        return FlagView(flag, tuple(uses), self._on(flag), self._words(flag), override, problems, link, self._shares(flag, uses, override))

    def _shares(self, flag: str, uses: list[tuple[str, str]], override: Override | None) -> tuple[tuple[str, str], ...]:
        """Nothing where the flags are not known."""
        if self.now is None:
            return ()
        said = []
        for route, _role in uses:
            configured = self._splits.get(flag, {}).get(route)
            if configured:
                found = standing(self.now.definitions.get(flag), None if override is None else override.enabled, configured)
                words = _("%(shares)s, by its variants") if found.source == "flag" else _("%(shares)s, as configured")
                said.append((route, words % {"shares": found.shares}))
        return tuple(said)

    def _on(self, flag: str) -> bool | None:
        return self.now.flags.get(flag, False) if self.now else None

    def _words(self, flag: str) -> str:
        if self.now is None:
            return _("not known")
        if flag in self.now.flags and flag not in self.now.definitions:  # another's, which no route reads any more
            return _("on by its strategies") if self.now.flags[flag] else _("off")
        if flag in self._splits and flag not in self.now.definitions:
            return _("not there")  # which is all right: the route goes by its configuration
        return flagwords.state(self.now.definitions.get(flag))


def _state(now: FlagsNow) -> dict[str, tuple[bool, bool | None]]:
    """Flag → whether it is on, and what an override says of it. The flags that are on, or overridden."""
    alive = {flag: each.enabled for flag, each in now.overrides.items() if each.until > time.time()}
    return {flag: (now.flags.get(flag, False), alive.get(flag)) for flag in {*alive, *(flag for flag, on in now.flags.items() if on)}}


def ui(config: Config) -> str:
    """Below which address Unleash shows a flag of that name; "" where the flags are not there."""
    if config.flags.source != "unleash":
        return ""
    return f"{config.flags.url.rstrip('/').removesuffix('/api')}/projects/{quote(config.flags.project, safe='')}/features"
