"""One malformed flag costs itself, and no other."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from bench.manyflags import document
from flags import salvage as module
from flags.decisions import Decisions
from flags.features import FeaturesError, normalised
from flags.salvage import salvage
from flags.snapshot import Context, Snapshot

GOOD: dict[str, Any] = {"name": "good", "enabled": True, "strategies": []}
DEFAULT: dict[str, Any] = {"name": "default", "parameters": {}}


def strategy(**more: Any) -> dict[str, Any]:
    return {"name": "bad", "enabled": True, "strategies": [DEFAULT, {**DEFAULT, "name": "userWithId", **more}]}


def decisions(features: bytes) -> Decisions:
    return Decisions.build(Snapshot(revision="", features=features, source="unleash", fetched_at=0.0))


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


MALFORMED = [
    ({"name": "bad", "strategies": []}, '"enabled" must be true or false'),
    ({"name": "bad", "enabled": "yes", "strategies": []}, '"enabled" must be true or false'),
    ({"name": "bad", "enabled": True}, '"strategies" must be a list'),
    ({"name": "bad", "enabled": True, "strategies": None}, '"strategies" must be a list'),
    ({"name": "bad", "enabled": True, "strategies": ["default"]}, "each strategy needs a"),
    (strategy(parameters=5), "strategy 'userWithId': \"parameters\" must be an object"),
    (strategy(parameters={"userIds": ["5"]}), "engine refuses its strategy 'userWithId'"),
    (strategy(constraints=[{"contextName": "x", "operator": "IN", "values": [5]}]), "engine refuses its strategy 'userWithId'"),
    (strategy(constraints=[{"operator": "IN", "values": ["5"]}]), "strategy 'userWithId': \"constraints\" must be a list of objects"),
    (strategy(constraints=[{"contextName": "x", "values": ["5"]}]), "strategy 'userWithId': \"constraints\" must be a list of objects"),
    (strategy(segments=["7"]), "engine refuses its strategy 'userWithId'"),
    ({**GOOD, "name": "bad", "variants": [{"name": "a"}]}, 'engine refuses its "variants"'),
    ({**GOOD, "name": "bad", "dependencies": [{}]}, 'engine refuses its "dependencies"'),
    ({**GOOD, "name": "bad", "variants": 5, "dependencies": 5}, '"variants" must be a list of objects'),
    ({**GOOD, "name": "bad", "impressionData": 5, "type": 5}, "engine refuses it;"),
    ({**GOOD, "name": "bad", "x": nested(200)}, 'engine refuses its "x"'),
]


@pytest.mark.parametrize(("bad", "says"), MALFORMED)
@pytest.mark.parametrize("place", [0, 1])
def test_it_alone_is_left_out_and_off(bad: dict[str, Any], says: str, place: int) -> None:
    features = [GOOD]
    features.insert(place, bad)
    found = salvage(orjson.dumps({"version": 2, "features": features}))
    ((name, why),) = found.refused
    assert name == "bad"
    assert says in why
    assert orjson.loads(found.features)["features"] == [GOOD]
    assert decisions(found.features).enabled("good", Context())
    assert not decisions(found.features).enabled("bad", Context(user_id="5"))


@pytest.mark.parametrize("nameless", [1, None, [], {}, {"name": 5}, {"name": ""}, {"enabled": True, "strategies": []}])
def test_what_has_no_name_is_called_by_its_place(nameless: object) -> None:
    found = salvage(orjson.dumps({"version": 2, "features": [GOOD, nameless]}))
    assert found.refused == (("features[1]", 'expected an object with "name", "enabled" and "strategies"'),)
    assert decisions(found.features).enabled("good", Context())


@pytest.mark.parametrize("other", [{**GOOD, "name": "bad"}, {"name": "bad", "enabled": 5}])
def test_two_of_a_name_are_both_out(other: dict[str, Any]) -> None:
    """Which of them was meant, nobody knows."""
    found = salvage(orjson.dumps({"version": 2, "features": [{**GOOD, "name": "bad"}, GOOD, other]}))
    assert found.refused == (("bad", "there are several flags of that name"),)
    assert not decisions(found.features).enabled("bad", Context())


SEGMENT = {"id": 1, "constraints": []}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": 2},
        {"id": 2, "constraints": None},
        {"id": 2, "constraints": [5]},
        {"id": 2, "constraints": [{"contextName": "x", "operator": "IN", "values": [5]}]},
        {"id": "2", "constraints": []},
        5,
        None,
    ],
)
def test_a_malformed_segment_costs_those_who_use_it(bad: object) -> None:
    used = {"name": "uses-2", "enabled": True, "strategies": [{**DEFAULT, "segments": [1, 2]}]}
    fine = {"name": "uses-1", "enabled": True, "strategies": [{**DEFAULT, "segments": [1]}]}
    found = salvage(orjson.dumps({"version": 2, "features": [used, fine, GOOD], "segments": [SEGMENT, bad]}))
    by = decisions(found.features)
    assert by.enabled("good", Context())
    assert by.enabled("uses-1", Context())
    assert not by.enabled("uses-2", Context())
    if isinstance(bad, dict) and bad["id"] == 2:
        assert found.refused == (("uses-2", "its segment 2 is malformed; open it in Unleash and save it anew"),)
    else:  # there is no segment 2: the engine takes the flag, and it is off (flags/problems.py says so)
        assert found.refused == ()


@pytest.mark.parametrize("segments", [5, {}, "x", True])
def test_segments_that_are_no_list(segments: object) -> None:
    used = {"name": "uses-1", "enabled": True, "strategies": [{**DEFAULT, "segments": [1]}]}
    found = salvage(orjson.dumps({"version": 2, "features": [used, GOOD], "segments": segments}))
    assert [name for name, _ in found.refused] == ["uses-1"]
    assert decisions(found.features).enabled("good", Context())


@pytest.mark.parametrize("more", [{"query": 5}, {"meta": []}, {"segments": None}])
def test_the_rest_of_a_document_costs_no_flag(more: dict[str, Any]) -> None:
    found = salvage(orjson.dumps({"version": 2, "features": [GOOD], **more}))
    assert found.refused == ()
    assert decisions(found.features).enabled("good", Context())


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b"{}", b'{"features": {}}', b'{"version": "2", "features": []}', b'{"features": [', b"\xff"]
)
def test_what_is_no_document_is_an_error(data: bytes) -> None:
    with pytest.raises(FeaturesError):
        salvage(data)


def test_what_is_fine_is_not_touched_and_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = orjson.dumps(document(50))
    loads = count_loads(monkeypatch)
    found = salvage(data)
    assert found.features is data
    assert found.refused == ()
    assert len(loads) == 1


def test_a_number_that_a_strategy_has_is_written_as_unleash_does() -> None:
    features = [{"name": "f", "enabled": True, "strategies": [{"name": "flexibleRollout", "parameters": {"rollout": 100}}]}]
    found = salvage(orjson.dumps({"version": 2, "features": features}))
    assert decisions(found.features).enabled("f", Context(user_id="1"))


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    loads: list[int] = []
    accepts = module.accepts

    def counted(data: bytes, features: list[dict[str, Any]]) -> bool:
        loads.append(len(features))
        return accepts(data, features)

    monkeypatch.setattr(module, "accepts", counted)
    return loads


@pytest.mark.parametrize("place", [0, 499, 999])
def test_one_among_a_thousand_is_found_by_halves(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    whole = document(1000)
    bad = whole["features"][place]
    bad["strategies"][0]["parameters"]["groupId"] = None
    loads = count_loads(monkeypatch)
    began = time.thread_time()
    found = salvage(orjson.dumps(whole))
    taken = time.thread_time() - began
    print(f"place {place}: {taken * 1000:.0f} ms of CPU, {len(loads)} engine loads of {sum(loads)} flags in sum")
    assert [name for name, _ in found.refused] == [bad["name"]]
    assert len(orjson.loads(found.features)["features"]) == 999
    assert sum(loads) <= 5.1 * 1000  # the whole, without segments, the halves, and what is left
    assert taken < 1.0


def test_all_of_a_thousand_at_once_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = document(1000)
    for feature in whole["features"]:
        feature["variants"] = 5
    loads = count_loads(monkeypatch)
    began = time.thread_time()
    found = salvage(orjson.dumps(whole))
    taken = time.thread_time() - began
    print(f"all: {taken * 1000:.0f} ms of CPU, {len(loads)} engine loads")
    assert len(found.refused) == 1000
    assert len(loads) <= 2 * 1000 + 5
    assert taken < 5.0


@pytest.mark.parametrize("odd", [{}, {"id": []}, {"name": "s"}, [1, []], 7, None, {"id": 1, "constraints": [["a", "IN"]]}])
def test_a_segment_that_only_the_engine_could_read_is_left_out_and_what_is_left_can_be_decided_by(odd: object) -> None:
    good = {"name": "good", "enabled": True, "strategies": []}
    found = salvage(orjson.dumps({"version": 2, "features": [good], "segments": [odd, {"id": 2, "constraints": []}]}))
    assert orjson.loads(found.features)["segments"] == [{"id": 2, "constraints": []}]
    empty = salvage(orjson.dumps({"version": 2, "features": [], "segments": [odd]}))
    for features in (found.features, empty.features):
        Decisions.build(Snapshot("1", features, "unleash", 0.0))
    with pytest.raises(FeaturesError, match="segments"):
        normalised(orjson.dumps({"version": 2, "features": [good], "segments": [odd]}), strict=True)


@pytest.mark.parametrize(
    "odd",
    [
        {"strategies": [{"name": "default", "constraints": [["a", "IN", False, False, ["x"], None]]}]},
        {"strategies": [{"name": "default", "variants": [["a"]]}]},
        {"strategies": [], "variants": [["a", 1]]},
        {"strategies": [], "dependencies": [["other"]]},
    ],
)
def test_a_flag_that_only_the_engine_could_read_is_left_out(odd: dict[str, Any]) -> None:
    good = {"name": "good", "enabled": True, "strategies": []}
    found = salvage(orjson.dumps({"version": 2, "features": [good, {"name": "odd", "enabled": True, **odd}]}))
    assert [feature["name"] for feature in orjson.loads(found.features)["features"]] == ["good"]
    assert [name for name, _ in found.refused] == ["odd"]


def test_nested_deeper_than_anybody_reads() -> None:
    deep = b"[" * 500 + b"]" * 500
    good = orjson.dumps(GOOD)
    found = salvage(b'{"version": 2, "features": [%b, {"name": "bad", "enabled": true, "strategies": [], "x": %b}]}' % (good, deep))
    assert found.refused == (("bad", "it is nested too deeply"),)
    assert orjson.loads(found.features)["features"] == [GOOD]
    segments = b'[{"id": 1, "constraints": []}, {"id": 2, "constraints": [], "x": %b}]' % deep
    for features, rest in ((good, b'"segments": %b' % segments), (good, b'"x": %b' % deep), (b"", b'"x": %b' % deep)):
        found = salvage(b'{"version": 2, "features": [%b], %b}' % (features, rest))
        assert found.refused == ()
        assert [feature["name"] for feature in orjson.loads(found.features)["features"]] == (["good"] if features else [])
        decisions(found.features)
