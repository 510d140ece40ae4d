"""Two bodies beside each other: what is marked, what is folded, what can't be shown."""

from __future__ import annotations

import json
from difflib import Match, SequenceMatcher
from typing import Any

import pytest

from console.aligning import WORK, Aligner
from console.sidebyside import MAX_LINES, Block, Row, bodies
from shadow.words import quoted, visible


def side(value: Any = None, **more: Any) -> dict[str, Any]:
    text = json.dumps(value)
    return {"form": "json", "text": text, "size": len(text), "cut": False, **more}


def difference(kind: str, path: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "path": path, "legacy": None, "candidate": None, **more}


def rows(blocks: list[Block] | None) -> list[Row]:
    assert blocks is not None
    return [row for block in blocks for row in block.rows]


def marked(blocks: list[Block] | None, mark: str = "differs") -> list[tuple[str | None, str | None]]:
    return [(row.legacy and row.legacy.strip(), row.candidate and row.candidate.strip()) for row in rows(blocks) if row.mark == mark]


def test_only_what_the_verdict_says_is_marked() -> None:
    blocks = bodies(side({"a": 1, "t": 1}), side({"a": "1", "t": 2}), [difference("type", "$.a")])
    assert marked(blocks) == [('"a": 1', '"a": "1"')]
    assert marked(blocks, "quiet") == [('"t": 1', '"t": 2')]


def test_what_one_side_lacks_stands_beside_a_gap() -> None:
    blocks = bodies(side({"a": 1, "b": {"c": 2}}), side({"a": 1}), [difference("missing", "$.b")])
    assert marked(blocks) == [('"b": {', None), ('"c": 2', None), ("}", None)]


def test_an_aligned_element_is_marked_at_both_of_its_places() -> None:
    one, other = [{"id": 1, "n": 5}, {"id": 2, "n": 6}], [{"id": 2, "n": 6}, {"id": 1, "n": 7}]
    blocks = bodies(side(one), side(other), [difference("value", "$[0].n", candidate_path="$[1].n")])
    flat = marked(blocks)
    assert '"n": 5' in {left for left, _ in flat}
    assert '"n": 7' in {right for _, right in flat}
    assert not {'"n": 6'} & {text for row in flat for text in row}


def test_a_list_in_another_order_is_marked_where_it_begins() -> None:
    blocks = bodies(side({"a": [1, 2]}), side({"a": [2, 1]}), [difference("order", "$.a")])
    assert ('"a": [', '"a": [') in marked(blocks)


def test_long_equal_runs_are_folded_and_nothing_is_lost() -> None:
    value = {f"k{number}": number for number in range(100)}
    blocks = bodies(side(value), side(value | {"k50": -1}), [difference("value", "$.k50")])
    assert blocks is not None
    assert [block.folded for block in blocks] == [True, False, False, False, True]
    assert len(rows(blocks)) == 102


def test_text_is_compared_by_lines_and_forms_by_fields() -> None:
    text = {"form": "text", "size": 9, "cut": False}
    assert marked(bodies(text | {"text": "a\nb"}, text | {"text": "a\nc"}, [difference("body", "$")])) == [("b", "c")]
    form = text | {"form": "form"}
    assert marked(bodies(form | {"text": "a=1&b=2"}, form | {"text": "a=1&b=3"}, [difference("value", "$.b[0]")])) == [("b=2", "b=3")]


@pytest.mark.parametrize(
    "other",
    [
        side(text=None, form="opaque"),
        side({"a": 1}, cut=True),
        side(list(range(MAX_LINES + 1))),
        side(text="{", form="json"),
    ],
)
def test_what_cannot_be_shown_by_lines_is_not(other: dict[str, Any]) -> None:
    assert bodies(side({"a": 1}), other, []) is None


def test_a_text_has_places_and_a_page_has_lines() -> None:
    left, right = "a\nb\nc", "a\nB\nC"
    text = {"form": "text", "size": 5, "cut": False}
    assert marked(bodies(text | {"text": left}, text | {"text": right}, [difference("value", "$[1]")])) == [("b", "B")]
    page = text | {"form": "html"}
    told = [difference("value", "$[0].p.content[0]")]
    assert marked(bodies(page | {"text": left}, page | {"text": right}, told)) == [("b", "B"), ("c", "C")]
    assert marked(bodies(page | {"text": left}, page | {"text": right}, [difference("header", "etag")])) == []


def test_what_does_not_show_is_written_out() -> None:
    assert visible("a\u202eb\x1b[31m\x00\ttab\nline é 漢") == "a\\u202eb\\x1b[31m\\x00\ttab\nline é 漢"
    assert quoted("\u200b<b>") == '"\\u200b<b>"'


def test_a_list_whose_every_element_differs_is_not_looked_through_again_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its braces read the same a thousand times, and no two of its other lines do."""
    looked = 0
    real = SequenceMatcher.find_longest_match

    def counted(self: Aligner, alo: int, ahi: int, blo: int, bhi: int) -> Match:
        nonlocal looked
        looked += sum(1 + len(self.b2j.get(line, ())) for line in self.a[alo:ahi])
        return real(self, alo, ahi, blo, bhi)

    monkeypatch.setattr(SequenceMatcher, "find_longest_match", counted)
    one, other = [{"id": number} for number in range(480)], [{"id": -1 - number} for number in range(480)]
    blocks = bodies(side(one), side(other), [difference("value", f"$[{number}].id") for number in range(480)])
    assert 0 < looked <= 2 * WORK
    assert marked(blocks) == [(f'"id": {number}', f'"id": {-1 - number}') for number in range(480)]
    assert not marked(blocks, "quiet")


def test_lines_are_aligned_as_by_difflib_where_there_is_time() -> None:
    left, right = list("abcxabcyabc"), list("bcxabcabczz")
    assert Aligner(left, right).get_opcodes() == SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    assert Aligner(left, right, work=0).get_opcodes() == [("replace", 0, 11, 0, 11)]
