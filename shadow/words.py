"""How numbers, moments and foreign text are written for people: on the console's pages and in reports alike."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from shadow.normalise import Json


def percent(share: float | None, digits: int = 2) -> str:
    """0.99871 as 99.87 %. Rounded down, so that 100 % means every single one."""
    if share is None:
        return "\N{EN DASH}"
    factor = 10**digits
    return f"{int(share * 100 * factor + 1e-9) / factor:.{digits}f} %"


def thousands(number: int) -> str:
    """12345 as 12,345."""
    return f"{number:,}"


def utc(moment: float) -> str:
    """Unix seconds as a date and time in UTC; as the number that they are, with @ before it, where a calendar has no such year: who tells
    milliseconds is not to keep anybody from the rest of a page."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"@{moment:g}"


def visible(text: str) -> str:
    """`text` with every character that has no look of its own written as an escape; line ends and tabs stay. What is left is also what XML
    can hold (section 2.2 of XML 1.0)."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else _escape(character) for character in text)


def quoted(value: Json) -> str:
    """A value as JSON on one line."""
    return visible(json.dumps(value, ensure_ascii=False))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
