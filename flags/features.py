"""Reading and checking Unleash's client-features JSON, once, where it enters: nothing behind this module meets a malformed flag.

Unleash's engine takes a whole document or refuses the whole document, and the SDK does not look at which it was: one numeric `rollout`
(Unleash writes "50", people write 50) would silently turn every flag off. So numbers are written as Unleash writes them, and what the
engine would still refuse is an error that names the flag. What a person wrote is refused as a whole; of what Unleash sends, only the
malformed flags are (flags/salvage.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from flags.verdict import Verdict

EMPTY = b'{"version":1,"features":[]}'


PROBE: Final = {"name": "banyan-probe", "enabled": False, "strategies": []}
"""Makes it visible whether the engine took a document that has no other flag."""


class FeaturesError(ValueError):
    """The document is not what Unleash's client API describes. The message says where and what would be right."""


def revision(data: bytes) -> str:
    """Equal revisions decide equally."""
    return hashlib.sha256(data).hexdigest()[:16]


def written(document: Mapping[str, Any]) -> bytes:
    """What was read, as JSON again.

    Raises:
        FeaturesError: it is nested deeper than that can be done for: the engine reads half as deep.
    """
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise FeaturesError("it is nested too deeply") from None


def parse(data: bytes) -> dict[str, Any]:
    """The document, with the shape of every feature checked and every strategy parameter a string.

    Raises:
        FeaturesError: it is not JSON, or not of that shape.
    """
    return _parse(data)[0]


def normalised(data: bytes, *, strict: bool = False) -> bytes:
    """The document as the engine will take it: `data` itself where nothing had to be rewritten. `strict`: a person wrote it, so what would
    silently mean "nobody" is an error too.

    Raises:
        FeaturesError: it is malformed, or the engine refuses it.
    """
    document, rewritten = _parse(data)
    if strict:
        _check_rollouts(document)
    if rewritten:
        data = written(document)
    if not accepts(data, document["features"]):
        raise FeaturesError(_refused(document))
    return data


def load(data: bytes) -> tuple[dict[str, Any], bool]:
    """The document, nothing checked but that it is one; and whether its version had to be added.

    Raises:
        FeaturesError: it is not JSON, or no flags document.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FeaturesError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        raise FeaturesError('not a flags document: expected {"version": 1, "features": [...]}')
    # Without it the engine refuses the whole document, though it reads every version alike. (Unleash itself writes 2.)
    added = "version" not in document
    version = document.setdefault("version", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise FeaturesError(f'"version" is a whole number such as 1, not {version!r}')
    return document, added


def check_feature(feature: object, where: str) -> bool:
    """Whether one of its parameters had to be rewritten as a string, which is done in place. `where` names it while it has no name.

    Raises:
        FeaturesError: it has not the shape of a feature.
    """
    if not isinstance(feature, dict) or not isinstance(feature.get("name"), str) or not feature["name"]:
        raise FeaturesError(f'{where}: expected an object with "name", "enabled" and "strategies"')
    name = feature["name"]
    if not isinstance(feature.get("enabled"), bool):
        raise FeaturesError(f'flag {name!r}: "enabled" must be true or false')
    for key in ("variants", "dependencies"):
        if not _objects(feature.get(key)):
            raise FeaturesError(f'flag {name!r}: "{key}" must be a list of objects')
    return _check_strategies(name, feature.get("strategies"))


def is_segment(segment: object) -> bool:
    """Whether it has the shape of one. (The engine takes a list of values for an object, too.)"""
    return isinstance(segment, dict) and isinstance(segment.get("id"), int | str) and _constraints(segment.get("constraints"))


SEGMENT: Final = '"segments": each is an object with an "id" and a list of "constraints"'


def _objects(items: object) -> bool:
    return items is None or (isinstance(items, list) and all(isinstance(item, dict) for item in items))


def _constraints(items: object) -> bool:
    if items is None:
        return True
    return isinstance(items, list) and all(
        isinstance(item, dict) and isinstance(item.get("contextName"), str) and isinstance(item.get("operator"), str) for item in items
    )


def accepts(data: bytes, features: list[dict[str, Any]]) -> bool:
    """Whether the engine takes the document `data`, which holds `features`.

    Raises:
        FeaturesError: it has no features, and is nested too deeply.
    """
    # A refused document leaves the engine empty, and so does one without flags: that is offered with one.
    if not features:
        features = [PROBE]
        data = written({**orjson.loads(data), "features": features})
    return Verdict(data).flags() == {feature["name"] for feature in features}


def culprit(document: Mapping[str, Any], feature: dict[str, Any]) -> str:
    """What of `feature`, which the engine refuses, it is that it refuses; '' where it does not come to light by leaving things out."""
    for key in feature.keys() - {"name", "enabled"}:
        rest = {**feature, key: []} if key == "strategies" else {name: value for name, value in feature.items() if name != key}
        if accepts(orjson.dumps({**document, "features": [rest]}), [rest]):
            return _culprit_strategy(document, feature) if key == "strategies" else f'its "{key}"'
    return ""


def _culprit_strategy(document: Mapping[str, Any], feature: dict[str, Any]) -> str:
    for strategy in feature["strategies"]:
        rest = {**feature, "strategies": [other for other in feature["strategies"] if other is not strategy]}
        if accepts(orjson.dumps({**document, "features": [rest]}), [rest]):
            return f"its strategy {strategy['name']!r}"
    return 'its "strategies"'


def _parse(data: bytes) -> tuple[dict[str, Any], bool]:
    document, rewritten = load(data)
    names: set[str] = set()
    for index, feature in enumerate(document["features"]):
        rewritten |= check_feature(feature, f"features[{index}]")
        if feature["name"] in names:
            raise FeaturesError(f"features[{index}]: the flag {feature['name']!r} is there twice")
        names.add(feature["name"])
    segments = document.get("segments", [])
    if segments is not None and not isinstance(segments, list):
        raise FeaturesError('"segments" must be a list')
    if not all(map(is_segment, segments or ())):
        raise FeaturesError(SEGMENT)
    return document, rewritten


def _check_strategies(name: str, strategies: object) -> bool:
    rewritten = False
    if not isinstance(strategies, list):
        raise FeaturesError(f'flag {name!r}: "strategies" must be a list (empty: on for everybody while enabled)')
    for strategy in strategies:
        if not isinstance(strategy, dict) or not isinstance(strategy.get("name"), str):
            raise FeaturesError(f'flag {name!r}: each strategy needs a "name", such as "flexibleRollout"')
        where = f"flag {name!r}, strategy {strategy['name']!r}"
        parameters = strategy.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise FeaturesError(f'{where}: "parameters" must be an object')
        if not _constraints(strategy.get("constraints")):
            raise FeaturesError(f'{where}: "constraints" must be a list of objects, each with "contextName" and "operator"')
        if not _objects(strategy.get("variants")):
            raise FeaturesError(f'{where}: "variants" must be a list of objects')
        for key, value in parameters.items():
            if isinstance(value, (int, float)):
                whole = isinstance(value, float) and value.is_integer()
                parameters[key] = str(int(value) if whole else value).lower()
                rewritten = True
    return rewritten


def _check_rollouts(document: Mapping[str, Any]) -> None:
    for feature in document["features"]:
        for strategy in feature["strategies"]:
            if strategy["name"] != "flexibleRollout":  # in a strategy of somebody's own it may mean anything
                continue
            rollout = (strategy.get("parameters") or {}).get("rollout")
            if not (isinstance(rollout, str) and re.fullmatch(r"[0-9]{1,3}", rollout) and int(rollout) <= 100):
                wrong = "is missing: it is" if rollout is None else f"{str(rollout)[:20]!r} is not"
                raise FeaturesError(f'flag {feature["name"]!r}: "rollout" {wrong} a whole number from 0 to 100')


def _refused(document: Mapping[str, Any]) -> str:
    """Which flag it was: each is offered alone. Only on the way to an error, so its cost does not matter."""
    for feature in document["features"]:
        try:
            written(feature)
        except FeaturesError as error:
            return f"flag {feature['name']!r}: {error}"
        if not accepts(written({**document, "features": [feature]}), [feature]):
            what = culprit(document, feature) or "it"
            return f"flag {feature['name']!r}: Unleash's engine refuses {what}; compare it with Unleash's own export"
    return "Unleash's engine refuses the document; see that no key is there twice, and compare its segments with Unleash's own export"
