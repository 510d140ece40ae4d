"""Reading a document in small pieces, in a thread beside an event loop.

The interpreter runs one thread at a time. Decoding 0.8 MB of JSON at once keeps it for 5 ms and so does decoding it for strategies that
nobody has, as the engine's binding for Python does; a loop in Python lets others run every 5 ms. So the document is cut into its flags
first (0.8 ms for a thousand), and whoever works through them lets the event loop run after every few.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import orjson

from flags.features import SEGMENT, FeaturesError, check_feature, is_segment, parse

SLICE: Final = 16
"""Flags between two pauses: some 0.2 ms of work."""
PAUSE: Final = 0.00005
"""Seconds. Not 0: a thread that gives the interpreter up and wants it at once gets it back before the other has woken up."""


class _Document(msgspec.Struct):
    features: list[msgspec.Raw]
    segments: list[msgspec.Raw] | None = None


_decoder = msgspec.json.Decoder(_Document)


def in_slices[T](items: Iterable[T]) -> Iterator[T]:
    """`items`, with a pause after every few. For threads beside an event loop."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % SLICE == 0:
            time.sleep(PAUSE)


def read(data: bytes) -> tuple[dict[str, dict[str, Any]], dict[Any, dict[str, Any]]]:
    """The features by name and the segments by id, as `parse` finds them.

    Raises:
        FeaturesError: `data` is malformed.
    """
    try:
        document = _decoder.decode(data)
    except msgspec.MsgspecError:
        whole = parse(data)  # which says what is wrong
        raise FeaturesError(f"not a flags document, though it has {len(whole['features'])} flags") from None
    features: dict[str, dict[str, Any]] = {}
    for index, raw in enumerate(in_slices(document.features)):
        feature = orjson.loads(memoryview(raw))
        check_feature(feature, f"features[{index}]")
        if feature["name"] in features:
            raise FeaturesError(f"features[{index}]: the flag {feature['name']!r} is there twice")
        features[feature["name"]] = feature
    segments: dict[Any, dict[str, Any]] = {}
    for raw in in_slices(document.segments or ()):
        segment = orjson.loads(memoryview(raw))
        if not is_segment(segment):
            raise FeaturesError(SEGMENT)
        segments[segment["id"]] = segment
    return features, segments
