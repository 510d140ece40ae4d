"""Two stored bodies as rows that stand side by side, with what differs marked.

What is marked comes from the stored differences and from nothing else: the page can't disagree with the verdict. Lines that differ
without being in that list (a rule ignores them, or an element has moved) are shown as `quiet`.

Everything here is foreign text. Characters that don't show (controls, direction overrides) are written as escapes, so that nothing on the
page looks other than it is; escaping for HTML is the template's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from console.aligning import Aligner
from console.statement import MAX_VALUE
from shadow.normalise import Json
from shadow.paths import Path, render
from shadow.words import quoted, visible

MAX_LINES = 4000
"""Per side. A longer body is shown in its raw form alone."""
MAX_ALIGN = 500_000
"""Pairs of lines that read the same, each with each. Where there are more, lines are not aligned: it would take seconds."""
MAX_SHOWN = 400_000
"""Characters on the page. Beyond them folded lines are left out, then others, and it is said how many."""
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
    left_out: int = 0
    """Rows that are not here, since the page would become too large."""

    @property
    def length(self) -> int:
        """Rows, those included that are left out."""
        return len(self.rows) + self.left_out


def bodies(legacy: dict[str, Any], candidate: dict[str, Any], differences: Sequence[dict[str, Any]]) -> list[Block] | None:
    """The two sides' bodies; None where they can't be shown line by line (withheld, binary, cut or too long)."""
    left = _lines(legacy, _places(differences, "legacy"))
    right = _lines(candidate, _places(differences, "candidate"))
    if left is None or right is None or not (left or right):
        return None
    return list(_bounded(list(_fold([_short(row) for row in _rows(left, right)]))))


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
    """The lines in pairs, aligned by what reads the same."""
    left_texts, right_texts = [line.text for line in left], [line.text for line in right]
    counts = Counter(right_texts)
    if sum(counts[text] for text in left_texts) <= MAX_ALIGN:
        codes = Aligner(left_texts, right_texts).get_opcodes()
        spans = [(i1, i2, j1, j2) for _, i1, i2, j1, j2 in codes]
    else:
        begin = _common(left_texts, right_texts)
        end = _common(left_texts[begin:][::-1], right_texts[begin:][::-1])
        ends = len(left) - end, len(right) - end
        spans = [(0, begin, 0, begin), (begin, ends[0], begin, ends[1]), (ends[0], len(left), ends[1], len(right))]
    for i1, i2, j1, j2 in spans:
        for offset in range(max(i2 - i1, j2 - j1)):
            one = left[i1 + offset] if i1 + offset < i2 else None
            other = right[j1 + offset] if j1 + offset < j2 else None
            yield Row(one.text if one else None, other.text if other else None, _mark(one, other))


def _common(left: list[str], right: list[str]) -> int:
    """How many of the first are the same."""
    return next((place for place, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), min(len(left), len(right)))


def _short(row: Row) -> Row:
    """A row whose lines are cut where they are long, with what was cut said."""

    def short(text: str | None) -> str | None:
        if text is None or len(text) <= MAX_VALUE:
            return text
        return f"{text[:MAX_VALUE]} … {len(text) - MAX_VALUE} more"

    # Two that differ far behind still read the same here: the mark says that they do not, and the list above where.
    return Row(short(row.legacy), short(row.candidate), row.mark)


def _bounded(blocks: list[Block]) -> Iterator[Block]:
    """The blocks within MAX_SHOWN: what differs takes its room before what is equal and folded."""
    room = MAX_SHOWN - sum(_length(row) for block in blocks if not block.folded for row in block.rows)
    over = room < 0
    left = MAX_SHOWN
    for block in blocks:
        size = sum(map(_length, block.rows))
        if block.folded:
            room -= size
            yield block if room >= 0 else Block((), folded=True, left_out=len(block.rows))
        elif not over or size <= left:
            left -= size
            yield block
        else:
            kept: list[Row] = []
            for row in block.rows:
                left -= _length(row)
                if left < 0:
                    break
                kept.append(row)
            left = max(0, left)
            yield Block(kept, left_out=len(block.rows) - len(kept))


def _length(row: Row) -> int:
    return len(row.legacy or "") + len(row.candidate or "") + 60  # the row's own tags


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
