"""What has changed, between one state of the flags and the next; and how much of it is kept."""

from __future__ import annotations

from typing import Any

import orjson

from flags.changes import KEPT, KEPT_BYTES, LARGEST, Changes


def state(*features: dict[str, Any], segments: list[dict[str, Any]] | None = None) -> bytes:
    return orjson.dumps({"version": 1, "features": list(features), "segments": segments or []})


def flag(name: str, enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {"name": name, "enabled": enabled, "strategies": [], **more}


def test_what_differs_is_written_down_and_the_first_state_differs_from_nothing() -> None:
    changes = Changes()
    changes.state(state(flag("a"), flag("b"), flag("c")), 1.0)
    assert changes.after(0) == []
    changes.state(state(flag("a", False), flag("c"), flag("d")), 2.0)
    told = [(each.number, each.at, each.flag, each.old, each.new) for each in changes.after(0)]
    assert told == [(1, 2.0, "a", flag("a"), flag("a", False)), (2, 2.0, "b", flag("b"), None), (3, 2.0, "d", None, flag("d"))]
    assert [each.number for each in changes.after(2)] == [3]
    assert set(changes.features) == {"a", "c", "d"}


def test_a_segment_that_changed_is_said_of_the_flags_that_use_it() -> None:
    user = flag("a") | {"strategies": [{"name": "default", "segments": [3]}]}
    changes = Changes()
    changes.state(state(user, flag("b"), segments=[{"id": 3, "constraints": []}, {"id": 4, "constraints": []}]), 1.0)
    changes.state(state(user, flag("b"), segments=[{"id": 3, "constraints": [{}]}, {"id": 4, "constraints": []}]), 2.0)
    assert [(each.flag, each.why) for each in changes.after(0)] == [("a", "the segment 3 has changed")]


def test_the_last_thousand_are_kept() -> None:
    changes = Changes()
    for number in range(KEPT + 5):
        changes.add(1.0, "override", f"f{number}", None, {"enabled": True, "until": 2.0})
    kept = changes.after(0)
    assert (len(kept), kept[0].number, kept[-1].number) == (KEPT, 6, KEPT + 5)


def test_large_flags_are_kept_in_few_words_and_all_of_them_are_bounded() -> None:
    changes = Changes()
    huge = flag("a", description="x" * LARGEST)
    changes.add(1.0, "flag", "a", flag("a"), huge)
    assert changes.after(0)[0].new == {"name": "a", "enabled": True, "bytes": len(orjson.dumps(huge))}
    large = flag("a", description="x" * (LARGEST - 200))
    for _ in range(400):
        changes.add(1.0, "flag", "a", large, large)
    kept = changes.after(0)
    assert sum(len(orjson.dumps(each.old)) + len(orjson.dumps(each.new)) for each in kept) <= KEPT_BYTES
    assert len(kept) > 100
    assert kept[-1].number == 401
