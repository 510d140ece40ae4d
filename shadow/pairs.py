"""What a walk over two documents is made of: places on both sides, equality and types as JSON has them."""

from __future__ import annotations

import marshal
from typing import NamedTuple

from shadow.normalise import Json
from shadow.paths import ANY_INDEX, Path, Segment, render


class At(NamedTuple):
    """A list element's place on each side; None where that side has none."""

    legacy: int | None
    candidate: int | None


type Step = str | At
type Where = tuple[Step, ...]


class Absent:
    """Not there at all, which is not null."""


ABSENT = Absent()


def same(left: Json, right: Json) -> bool:
    """Equality of JSON values: like ==, but true is not 1."""
    if left != right:
        return False
    if not isinstance(left, list | dict):
        return isinstance(left, bool) is isinstance(right, bool)
    # Equal and written alike is equal in type; this costs a tenth of looking. Version 2 knows no references, which differ for no reason.
    return marshal.dumps(left, 2) == marshal.dumps(right, 2) or _same_types(left, right)


def _same_types(left: Json, right: Json) -> bool:
    """Of two values that are ==: whether no boolean stands against a number."""
    if isinstance(left, dict) and isinstance(right, dict):
        return all(_same_types(item, right[key]) for key, item in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return all(map(_same_types, left, right))
    return isinstance(left, bool) is isinstance(right, bool)


def json_type(value: Json | Absent) -> str:
    """One of JSON's own types."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def rule_path(where: Where) -> Path:
    """How rules see a place: by legacy's indices, or the candidate's where legacy has none."""
    return tuple(step if isinstance(step, str) else index_of(step, legacy=True) for step in where)


def index_of(at: At, *, legacy: bool) -> int:
    first, second = (at.legacy, at.candidate) if legacy else (at.candidate, at.legacy)
    index = first if first is not None else second
    assert index is not None  # noqa: S101 - an element that neither side has is not an element
    return index


def both_paths(where: Where) -> tuple[str, str]:
    """(the path, the candidate's path where it is another)."""
    mine = render(rule_path(where))
    other_path: tuple[Segment, ...] = tuple(step if isinstance(step, str) else index_of(step, legacy=False) for step in where)
    other = render(other_path)
    return mine, other if other != mine else ""


def general(where: Where) -> Path:
    """A place without indices."""
    return tuple(step if isinstance(step, str) else ANY_INDEX for step in where)
