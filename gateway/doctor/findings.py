"""What a look at one thing finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type Level = Literal["fine", "note", "warning", "wrong"]
"""note: nothing to do. warning: it works, and somebody should know. wrong: it does not work, or not as it was meant."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page."""

    about: str
    """The thing, such as "upstream reviews"."""
    level: Level
    said: str
    """What was seen. It holds no secret, and neither does `todo`."""
    todo: str = ""
    """What to do about it."""


def status(findings: list[Finding], readable: bool) -> int:
    """The exit status. 0: nothing is wrong; 1: something is; 2: the configuration cannot be read (`readable`)."""
    if not readable:
        return 2
    return 1 if any(finding.level == "wrong" for finding in findings) else 0
