"""Two stored bodies as rows that stand side by side, with what differs marked.

What is marked comes from the stored differences and from nothing else: the page can't disagree with the verdict. Lines that differ
without being in that list (a rule ignores them, or an element has moved) are shown as `quiet`.

Everything here is foreign text. Characters that don't show (controls, direction overrides) are written as escapes, so that nothing on the
page looks other than it is; escaping for HTML is the template's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from shadow.normalise import Json
from shadow.paths import Path, render
from shadow.words import quoted, visible

MAX_LINES = 4000
"""Per side. A longer body is shown in its raw form alone."""
MAX_ALIGN = 4_000_000
CONTEXT = 3
"""Equal lines shown around what differs; longer runs are folded."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of one side. `flagged`: it belongs to a stored difference."""

    text: str
    flagged: bool = False
    pinned: bool = False
    """Marked even where both sides read the same: the beginning of a list whose order differs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of each side; None where that side has none. `mark`: "", "differs" or "quiet"."""

    legacy: str | None
    candidate: str | None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that belong together. `folded` ones are equal on both sides and far from any difference."""

    rows: Sequence[Row]
    folded: bool = False


def bodies(legacy: dict[str, Any], candidate: dict[str, Any], differences: Sequence[dict[str, Any]]) -> list[Block] | None:
    """The two sides' bodies; None where they can't be shown line by line (withheld, binary, cut or too long)."""
    left = _lines(legacy, _places(differences, "legacy"))
    right = _lines(candidate, _places(differences, "candidate"))
    if left is None or right is None or not (left or right):
        return None
    return list(_fold(list(_rows(left, right))))


def _places(differences: Sequence[dict[str, Any]], side: str) -> dict[str, str]:
    """Path on this side → kind."""
    places: dict[str, str] = {}
    for difference in differences:
        path = difference.get("candidate_path") or difference["path"] if side == "candidate" else difference["path"]
        places[path] = difference["kind"]
    return places


def _lines(side: dict[str, Any], places: dict[str, str]) -> list[Line] | None:
    text = side["text"]
    if side["form"] == "empty" or (text is None and side["size"] == 0):
        return []
    if text is None or side["cut"]:
        return None
    lines: list[Line] = []
    if side["form"] == "json":
        try:
            value = json.loads(text)
        except ValueError:
            return None
        for line in _document(value, (), "", "", places, flagged=False):
            lines.append(line)
            if len(lines) > MAX_LINES:
                return None
        return lines
    split = text.split("&") if side["form"] == "form" else text.split("\n")
    if len(split) > MAX_LINES:
        return None
    # Of a text the lines are places. A form's fields and a page's elements are not lines: each that reads otherwise is marked.
    whole = "body" in places.values() or (side["form"] in ("form", "html") and any(path.startswith("$") for path in places))
    return [Line(visible(line), whole or render((number,)) in places) for number, line in enumerate(split)]


def _document(value: Json, path: Path, indent: str, label: str, places: dict[str, str], *, flagged: bool) -> Iterator[Line]:
    """A JSON value as indented lines."""
    kind = places.get(render(path))
    flagged = flagged or kind is not None
    head = f"{indent}{label}"
    if isinstance(value, dict | list) and value:
        opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
        yield Line(head + opening, flagged, pinned=kind == "order")
        items: list[tuple[str | int, Json]] = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        for key, item in items:
            name = f"{quoted(key)}: " if isinstance(key, str) else ""
            yield from _document(item, (*path, key), indent + "  ", name, places, flagged=flagged)
        yield Line(indent + closing, flagged)
    else:
        yield Line(head + quoted(value), flagged)


def _rows(left: list[Line], right: list[Line]) -> Iterator[Row]:
    left_texts, right_texts = [line.text for line in left], [line.text for line in right]
    spans = [(0, len(left), 0, len(right))]
    if len(left) * len(right) <= MAX_ALIGN:
        codes = SequenceMatcher(None, left_texts, right_texts, autojunk=False).get_opcodes()
        spans = [(i1, i2, j1, j2) for _, i1, i2, j1, j2 in codes]
    for i1, i2, j1, j2 in spans:
        for offset in range(max(i2 - i1, j2 - j1)):
            one = left[i1 + offset] if i1 + offset < i2 else None
            other = right[j1 + offset] if j1 + offset < j2 else None
            yield Row(one.text if one else None, other.text if other else None, _mark(one, other))


def _mark(one: Line | None, other: Line | None) -> str:
    if one is not None and other is not None and one.text == other.text:
        return "differs" if one.pinned or other.pinned else ""
    return "differs" if (one is not None and one.flagged) or (other is not None and other.flagged) else "quiet"


def _fold(rows: list[Row]) -> Iterator[Block]:
    """Runs of equal rows longer than twice the context are folded in their middle."""
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and (rows[end].mark != "") == (rows[start].mark != ""):
            end += 1
        run = rows[start:end]
        before = 0 if start == 0 else CONTEXT
        after = 0 if end == len(rows) else CONTEXT
        if run[0].mark or len(run) <= before + after + CONTEXT:
            yield Block(run)
        else:
            if before:
                yield Block(run[:before])
            yield Block(run[before : len(run) - after], folded=True)
            if after:
                yield Block(run[len(run) - after :])
        start = end
