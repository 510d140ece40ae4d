"""A new state of a thousand flags beside an event loop that has other things to do."""

from __future__ import annotations

import gc
import weakref

import orjson
import pytest

from bench import flagload, manyflags
from flags.decisions import Decisions
from flags.features import FeaturesError, parse
from flags.loading import in_slices, read
from flags.snapshot import Context, Snapshot


def test_it_reads_what_parse_reads() -> None:
    data = manyflags.data(200)
    document = parse(data)
    features, segments = read(data)
    assert features == {feature["name"]: feature for feature in document["features"]}
    assert list(features) == [feature["name"] for feature in document["features"]]
    assert segments == {segment["id"]: segment for segment in document["segments"]}


def test_numbers_become_strings_as_in_parse() -> None:
    data = b'{"version":1,"features":[{"name":"f","enabled":true,"strategies":[{"name":"default","parameters":{"x":5.0}}]}]}'
    features, segments = read(data)
    assert features["f"]["strategies"][0]["parameters"] == {"x": "5"}
    assert segments == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"features":5}',
        b'{"features":[5]}',
        b'{"features":[{"name":"f","enabled":true,"strategies":[]},{"name":"f","enabled":true,"strategies":[]}]}',
        b'{"features":[{"name":"f","enabled":1,"strategies":[]}]}',
        b'{"features":[],"segments":5}',
        b'{"features":[]',
    ],
)
def test_what_parse_refuses_is_refused(data: bytes) -> None:
    with pytest.raises(FeaturesError) as expected:
        parse(data)
    with pytest.raises(FeaturesError) as found:
        read(data)
    assert str(found.value) == str(expected.value)


def test_slices_leave_nothing_out() -> None:
    assert list(in_slices(range(100))) == list(range(100))


def test_what_was_in_force_is_freed_by_discard_and_not_before() -> None:
    """Its engine takes 10 ms to free for 1,000 flags: that must not happen where `install` is called, on the event loop."""

    def state(number: int) -> Snapshot:
        features = [{"name": f"f-{number}-{i}", "enabled": True, "strategies": []} for i in range(100)]
        return Snapshot(str(number), orjson.dumps({"version": 1, "features": features}), "file", 0.0)

    decisions = Decisions.build(state(1))
    engine = weakref.ref(decisions._engine)
    plan = decisions._plans["f-1-0"]
    built = Decisions.build(state(2))
    decisions.install(built)
    gc.collect()
    assert engine() is not None
    assert built._plans["f-1-0"] is plan
    built.discard()
    gc.collect()
    assert engine() is None
    assert not built._plans
    assert decisions.enabled("f-2-7", Context())
    assert not decisions.enabled("f-1-7", Context())


def test_a_thousand_flags_cost_no_pause_above_ten_milliseconds() -> None:
    """Of its own making, since other tests have the cores too; and the median, since a load may meet a collection of the tests' garbage."""
    found = flagload.measure(loads=9)
    print(f"largest {found.largest:.1f} ms, of its own {', '.join(f'{own:.1f}' for own in found.own)} ms, idle {found.idle:.1f} ms")
    assert sorted(found.own)[len(found.own) // 2] <= 10
