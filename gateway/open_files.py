"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import resource


def raise_limit() -> None:
    """To what is allowed: shells start programs with 1,024, for the sake of select(2), which is not used here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
