"""What an event is on the wire, and to which partition it belongs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from events.envelope import PARTITIONS, EnvelopeError, Event, decoded, partition
from events.position import NOTHING, PositionError, read
from events.stream import of_partition, subject

EVENT = Event(
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "shop",
    "shop.review.written",
    "review/17",
    datetime(2026, 11, 30, 9, 5, 0, 120, tzinfo=UTC),
    "review-17",
    42,
    "reviews",
    {"id": 17, "title": "Größe"},
    7_000_000_000,
)


def test_it_is_a_cloud_event() -> None:
    told = json.loads(EVENT.encoded())
    assert {name: told[name] for name in ("specversion", "id", "source", "type", "subject", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "id": EVENT.id,
        "source": "shop",
        "type": "shop.review.written",
        "subject": "review/17",
        "time": "2026-11-30T09:05:00.000120Z",
        "datacontenttype": "application/json",
    }
    # Names of extensions are lower-case letters and digits (CloudEvents 1.0, 3.1).
    assert all(name.isascii() and name.islower() and name.isalnum() for name in told)


def test_it_is_read_as_it_was_written() -> None:
    assert decoded(EVENT.encoded()) == EVENT
    assert decoded(replace(EVENT, transaction=None).encoded()).transaction is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"null",
        EVENT.encoded().replace(b'"1.0"', b'"2.0"'),
        EVENT.encoded().replace(b'"sequence":"42"', b'"sequence":"x"'),
        EVENT.encoded().replace(b'"key":"review-17"', b'"key":""'),
        EVENT.encoded().replace(b"2026-11-30T", b"yesterday"),
        json.dumps({**json.loads(EVENT.encoded()), "data": [1]}).encode(),
        # What Python can read and not reckon with, or no database can store.
        EVENT.encoded().replace(b"2026-11-30T09:05:00.000120Z", b"9999-12-31T23:59:59-12:00"),
        EVENT.encoded().replace(b"2026-11-30T09:05:00.000120Z", b"0001-01-01T00:00:00+12:00"),
        EVENT.encoded().replace(b'"7000000000"', b"1e400"),
        EVENT.encoded().replace(b'"key":"review-17"', rb'"key":"review-17\ud800"'),
        EVENT.encoded().replace(b'"key":"review-17"', b'"key":"review-17\xed\xa0\x80"'),
        EVENT.encoded().replace(EVENT.id.encode(), rb"0f8f\u0000"),
        EVENT.encoded().replace(EVENT.id.encode(), b"x" * 256),
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decoded(body)


def test_a_key_has_its_partition_for_ever() -> None:
    # Written down: with another function, what waits in a stream would be behind what comes.
    assert [partition(key) for key in ("review-17", "item-1", "option-600", "order-9")] == [3, 1, 3, 1]
    counts = [0] * PARTITIONS
    for number in range(4000):
        counts[partition(f"item-{number}")] += 1
    assert min(counts) > 800


def test_its_subject_is_what_its_partition_listens_to() -> None:
    assert subject(EVENT) == f"events.shop.{EVENT.partition}.review.written"
    assert subject(EVENT).startswith(of_partition("shop", EVENT.partition).removesuffix(">"))


def test_a_copy_covers_what_was_over_when_it_was_read() -> None:
    copied = read("snapshot:100:105:101,103")
    seen = {number: copied.covers(replace(EVENT, transaction=number)) for number in range(98, 108)}
    assert seen == {98: True, 99: True, 100: True, 101: False, 102: True, 103: False, 104: True, 105: False, 106: False, 107: False}
    assert read("snapshot:100:100:").covers(replace(EVENT, transaction=99))
    numbered = read("number:42")
    assert numbered.covers(replace(EVENT, transaction=None))
    assert not numbered.covers(replace(EVENT, transaction=None, sequence=43))
    assert not NOTHING.covers(EVENT)
    assert not NOTHING.covers(replace(EVENT, transaction=None))


@pytest.mark.parametrize("text", ["", "number:", "snapshot:1:2", "snapshot:1:2:x", "place:1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(PositionError):
        read(text)
