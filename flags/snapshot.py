"""The state of every flag at one moment, and the question that the policy asks of it.

Standard library only: the policy imports this module, so nothing here may evaluate, fetch or block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All flags as Unleash's client API describes them, handed whole from the one source to every worker."""

    revision: str
    """A digest of `features`: equal revisions decide equally."""
    features: bytes
    """The body of GET /api/client/features, or the flag file's content: the same JSON."""
    source: str
    """file, unleash, backup, or none (nothing could be read: every flag is off, so legacy answers)."""
    fetched_at: float
    """Unix seconds of the last time the source confirmed this state."""
    error: str = ""
    """Why the source could not be asked lately; '' when all is well."""
    refused: tuple[tuple[str, str], ...] = ()
    """(flag, why) of those that had to be left out of `features`, since they would have cost all others. They are off."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who and what a decision is about, in Unleash's words."""

    user_id: str | None = None
    session_id: str | None = None
    remote_address: str | None = None
    properties: Mapping[str, str] = field(default=_NOTHING)
    current_time: str | None = None
    """When, in ISO 8601; None is now."""
    fleeting: bool = False
    """Decided, but not remembered: its session may never come back, and would only take the place of one that does."""


class Flags(Protocol):
    """What the policy needs to know of flags. An unknown flag is off; nothing here raises."""

    revision: str

    def enabled(self, flag: str, context: Context) -> bool: ...

    def overridden(self, flag: str) -> bool:
        """Whether somebody set it on this gateway, past where it lives."""
        ...

    def both(self, serve: str, shadow: str, context: Context) -> int:
        """A route's two flags: 1 if `serve` is on, 2 more if `shadow` is, 4 more if `serve` is overridden. One question, because three of
        them, each by way of a Protocol, take 2,600 instructions, and this 1,200."""
        answers = 4 if self.overridden(serve) else 0
        if self.enabled(serve, context):
            answers += 1
        if self.enabled(shadow, context):
            answers += 2
        return answers

    def by_session(self, flag: str) -> bool:
        """Whether it matters to the flag which session, or visitor, is asking."""
        ...

    def weights(self, flag: str) -> Mapping[str, int] | None:
        """What each variant of the flag weighs, the same object until that changes; None where there are none to go by."""
        ...

    def chose(self, flag: str, variant: str) -> None:
        """Somebody was given this variant of the flag by its weights: for whoever counts. "" is none of them."""
        ...
