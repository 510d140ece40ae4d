"""What can be used of the document that Unleash sent. One malformed flag must not cost the others: it alone is left out, and said.

The engine takes or refuses a document as a whole, and does not say why. Nearly always it takes it, and that one load is all there is to
pay. Otherwise the culprits are looked for by halves: for one among 1,000 flags that is two loads more, in sum, where offering each flag
alone would be a thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from flags.features import PROBE, FeaturesError, accepts, check_feature, culprit, is_segment, load, written

EXPLAINED: Final = 20
"""For how many malformed flags it is worked out which part of them is refused. It takes some ten engine loads of that flag each."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A document that the engine takes, and what it lacks."""

    features: bytes
    """The bytes that came, where nothing had to be left out or rewritten."""
    refused: tuple[tuple[str, str], ...]
    """(flag, why), by flag. A flag without a name is called by its place, such as features[3]."""


def salvage(data: bytes) -> Salvaged:
    """All that is usable of `data`. Takes 15 ms for 1,000 flags that are, so it belongs in a thread.

    Raises:
        FeaturesError: it is not a flags document at all.
    """
    document, rewritten = load(data)
    refused: dict[str, str] = {}
    good, checked = _shaped(document["features"], refused)
    segments = document.get("segments")
    shaped = segments is None or (isinstance(segments, list) and all(map(is_segment, segments)))
    try:
        if refused or rewritten or checked:
            data = written({**document, "features": good})
        taken = shaped and accepts(data, good)
    except FeaturesError:
        taken = False
    if not taken:
        good = [feature for feature in good if not _too_deep(feature, refused)]
        usable = _usable_segments(
            [each for each in segments if is_segment(each) and not _too_deep(each)] if isinstance(segments, list) else []
        )
        if isinstance(segments, list):
            good = _without_lost_segments(good, _ids(segments) - _ids(usable), refused)
        elif segments is not None:
            good = _without_lost_segments(good, _used(good), refused)
        malformed = _malformed(good)
        for number, feature in enumerate(malformed):
            what = culprit({"version": 1}, feature) if number < EXPLAINED else ""
            refused[feature["name"]] = f"Unleash's engine refuses {what or 'it'}; open it in Unleash and save it anew"
        bad = {feature["name"] for feature in malformed}
        good = [feature for feature in good if feature["name"] not in bad]
        whole = {"version": document["version"], "features": good, "segments": usable}
        data = orjson.dumps(whole)
        if not accepts(data, good):
            raise FeaturesError("Unleash's engine refuses the document, though it takes each flag of it")
    return Salvaged(data, tuple(sorted(refused.items())))


def _shaped(features: list[Any], refused: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
    """Those that have the shape of a feature, each with a name of its own; and whether one of them was rewritten."""
    good: list[dict[str, Any]] = []
    rewritten = False
    for index, feature in enumerate(features):
        where = f"features[{index}]"
        try:
            rewritten |= check_feature(feature, where)
        except FeaturesError as error:
            name = feature.get("name") if isinstance(feature, dict) else None
            name = name if isinstance(name, str) and name else where
            refused[name] = str(error).removeprefix(f"flag {name!r}").removeprefix(name).lstrip(":, ")
        else:
            good.append(feature)
    for name, times in Counter(feature["name"] for feature in good).items():
        if times > 1 or name in refused:
            refused[name] = "there are several flags of that name"
    return [feature for feature in good if feature["name"] not in refused], rewritten


def _too_deep(given: dict[str, Any], refused: dict[str, str] | None = None) -> bool:
    """Whether this flag (then it is `refused`) or segment is nested deeper than the engine, or anybody, reads."""
    try:
        written(given)
    except FeaturesError as error:
        if refused is not None:
            refused[given["name"]] = str(error)
        return True
    return False


def _malformed(features: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the engine refuses. Without segments: a flag whose segment is missing is taken, and off."""
    if accepts(orjson.dumps({"version": 1, "features": features}), list(features)):
        return []
    if len(features) == 1:
        return list(features)
    half = len(features) // 2
    return _malformed(features[:half]) + _malformed(features[half:])


def _usable_segments(segments: Sequence[Any]) -> list[Any]:
    if accepts(orjson.dumps({"version": 1, "features": [PROBE], "segments": segments}), [PROBE]):
        return list(segments)
    if len(segments) == 1:
        return []
    half = len(segments) // 2
    return _usable_segments(segments[:half]) + _usable_segments(segments[half:])


def _without_lost_segments(features: list[dict[str, Any]], lost: set[Any], refused: dict[str, str]) -> list[dict[str, Any]]:
    if not lost:
        return features
    good = []
    for feature in features:
        missing = _used([feature]) & lost
        if missing:
            numbers = ", ".join(sorted(map(str, missing)))
            refused[feature["name"]] = f"its segment {numbers} is malformed; open it in Unleash and save it anew"
        else:
            good.append(feature)
    return good


def _used(features: Sequence[dict[str, Any]]) -> set[Any]:
    """The segments that flags name. What no segment can be called is left to the engine to refuse."""
    found: set[Any] = set()
    for feature in features:
        for strategy in feature["strategies"]:
            segments = strategy.get("segments")
            if isinstance(segments, list):
                found |= {segment for segment in segments if isinstance(segment, (int, str))}
    return found


def _ids(segments: Sequence[Any]) -> set[Any]:
    found = (segment.get("id") for segment in segments if isinstance(segment, dict))
    return {number for number in found if isinstance(number, (int, str))}
