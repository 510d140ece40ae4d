"""What a flag may be called: what Unleash accepts, in the flag file too, so that flags can move from one to the other."""

from __future__ import annotations

import re

RULE = "Unleash takes up to 100 letters, digits and - . _ ~"
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,100}")
"""What stands in a URL without an escape."""


def possible(name: str) -> bool:
    """Whether Unleash would take it."""
    return _NAME.fullmatch(name) is not None and name not in (".", "..")
