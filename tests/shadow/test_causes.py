"""Signatures that likely have one cause are one group, and every one is in exactly one."""

from __future__ import annotations

from dataclasses import dataclass

from shadow.causes import grouped, parent
from shadow.recompute import Combination, Member


@dataclass(frozen=True)
class Line:
    kind: str
    path: str
    count: int = 10
    open: bool = True


def together(*paths: str) -> Combination:
    return tuple(Member("value", path) for path in paths)


def test_what_always_occurs_together_is_one_group() -> None:
    lines = [Line("value", path) for path in ("$.price.amount", "$.price.currency", "$.total", "$.other")]
    seen = [
        (together("$.price.amount", "$.price.currency"), 5),
        (together("$.price.amount", "$.price.currency", "$.other"), 2),
        (together("$.total"), 3),
    ]
    found = grouped(lines, seen)
    assert [(group.why, [line.path for line in group.lines]) for group in found] == [
        ("alone", ["$.other"]),
        ("together", ["$.price.amount", "$.price.currency"]),
        ("alone", ["$.total"]),
    ]
    assert (found[1].exchanges, found[1].path) == (7, "$.price")


def test_one_exchange_shows_nothing() -> None:
    lines = [Line("value", "$.a"), Line("type", "$.b")]
    members = (Member("value", "$.a"), Member("type", "$.b"))
    assert [group.why for group in grouped(lines, [(members, 1)])] == ["alone", "alone"]
    assert [group.why for group in grouped(lines, [(members, 2)])] == ["together"]


def test_neighbours_are_one_group_and_what_lies_below_the_root_is_not() -> None:
    lines = [
        Line("value", "$.items[*].name"),
        Line("type", "$.items[*].size", 50),
        Line("value", "$.id"),
        Line("value", "$.at"),
        Line("header", "cache-control"),
        Line("status", "200->500", 5),
    ]
    found = grouped(lines)
    assert [(group.why, group.path, len(group.lines)) for group in found] == [
        ("below", "$.items[*]", 2),
        ("alone", "", 1),
        ("alone", "", 1),
        ("alone", "", 1),
        ("alone", "", 1),
    ]


def test_open_ones_come_first_within_groups_and_among_them() -> None:
    lines = [
        Line("value", "$.x.a", 900, open=False),
        Line("value", "$.x.b", 1),
        Line("value", "$.y", 999, open=False),
        Line("value", "$.z", 2),
    ]
    found = grouped(lines)
    assert [[line.path for line in group.lines] for group in found] == [["$.z"], ["$.x.b", "$.x.a"], ["$.y"]]
    assert [group.open for group in found] == [1, 1, 0]


def test_a_path_is_cut_at_its_segments_and_not_within_names() -> None:
    assert parent('$.a["b.c[0]"].d') == '$.a["b.c[0]"]'
    assert parent('$["x\\"].y"].z') == '$["x\\"].y"]'
    assert parent("$.items[*].size") == "$.items[*]"
    assert parent("$.items[*]") == "$.items"
    assert parent("$.a") == parent("$") == parent("cache-control") == parent("") == ""
