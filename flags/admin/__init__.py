"""Turning flags on, off and part of the way: in the flag file, or in Unleash through its Admin API.

Turned off is turned off where the flag lives, so that every gateway and every person sees the same. Both ways keep what people configured
beside it: a flag with several strategies is refused a percentage rather than stripped of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flags.admin.atomic import write_atomically
from flags.admin.file import has_flag, is_on, list_flags, set_flag, switch_off, sync_flags
from flags.admin.states import AdminError, ArchivedError, FlagState, Synced, Wanted

if TYPE_CHECKING:
    from flags.admin.unleash import UnleashAdmin

__all__ = [
    "AdminError",
    "ArchivedError",
    "FlagState",
    "Synced",
    "UnleashAdmin",
    "Wanted",
    "has_flag",
    "is_on",
    "list_flags",
    "set_flag",
    "switch_off",
    "sync_flags",
    "write_atomically",
]


def __getattr__(name: str) -> Any:
    """UnleashAdmin only when it is asked for: httpx takes a tenth of a second, and whose flags are in a file needs none of it."""
    if name == "UnleashAdmin":
        from flags.admin.unleash import UnleashAdmin

        return UnleashAdmin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
