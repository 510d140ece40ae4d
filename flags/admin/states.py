"""What is said of a flag, and wanted of it, by whoever administers flags: the same for the file and for Unleash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

OURS: Final = "Banyan, route "
"""How the description of a flag begins that was made for a route: what tells it from others in the file, which has no tags."""
MARK: Final = "simple:banyan"
"""The tag, as type:value, on every flag that was made for a route in Unleash: values have 2 to 50 characters there, and the type "simple"
comes with it."""


def plain(text: str) -> str:
    """What others wrote, such that it does nothing to a terminal but stand there."""
    return text if text.isprintable() else "".join(character if character.isprintable() else "�" for character in text)


class AdminError(RuntimeError):
    """The flag could not be changed. The message says what, where and what to do."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(plain(message))
        self.status = status
        """HTTP's, of Unleash's answer; 0 where there was none."""


class ArchivedError(AdminError):
    """Unleash keeps a flag of that name in its archive. Gateways do not get it, so it counts as off."""


@dataclass(frozen=True, slots=True)
class FlagState:
    """A flag as `banyan flags list` shows it."""

    name: str
    enabled: bool
    rollout: int | None
    """Percent; None where the strategies are more than one rollout can say."""
    description: str = ""
    type: str = "release"
    """Unleash's: release, experiment, operational, kill-switch, permission or sunset."""
    stickiness: str = ""
    """By what somebody stays on one side, where there is a rollout."""
    stale: bool = False
    """Somebody marked it in Unleash as one to be removed."""
    tags: tuple[str, ...] = ()
    """Unleash's: "simple:banyan"."""
    conditional: int | None = None
    """Percent of those whom its constraints and segments let in, where `rollout` is None because of these alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flag that should exist."""

    name: str
    description: str
    type: str
    variants: Mapping[str, int] = field(default_factory=dict)
    """Their weights, in any measure. Only what is made gets them: those of a flag that is there are somebody's."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of a flag that should exist, or of one that nobody wants any more."""

    name: str
    outcome: Literal["made", "tagged", "kept", "refused", "unread"]
    """unread: it looks like one of ours, and is not among the wanted. Nothing was done to it."""
    why: str = ""
    """refused: what, and what to do."""
