"""Stored values for people: cut where they are long, with what was cut said. A page must stay small, whatever an upstream has answered."""

from __future__ import annotations

from dataclasses import dataclass

from shadow.words import visible

MAX_VALUE = 2000
"""Characters of one value, header, target or line."""
MAX_RAW = 64_000
"""Characters of a raw body."""
MAX_CURL = 16_000


@dataclass(frozen=True, slots=True)
class Cut:
    """The beginning of a text, and how much more there is."""

    text: str
    more: int = 0
    """Characters that are not shown."""


def cut(text: str, most: int = MAX_VALUE) -> Cut:
    """The beginning of `text`, of at most `most` characters once those that don't show are written as escapes."""
    head = text[:most]
    shown = visible(head)
    if len(shown) > most:
        length = 0
        for place, character in enumerate(head):
            length += len(visible(character))
            if length > most:
                head = head[:place]
                break
        shown = visible(head)
    return Cut(shown, len(text) - len(head))
