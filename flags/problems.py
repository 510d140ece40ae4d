"""What is wrong with a flag that nobody would hear of: Unleash's engine takes it, says nothing, and it is not what was meant.

Nothing here decides. Every sentence says what the engine really does with it; tests/flags/test_problems.py asks it. What this module does
not find by itself, and the engine could not compile, is reported in the engine's own words.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from flags import splits, words
from flags.features import EMPTY, FeaturesError, parse
from flags.snapshot import Snapshot
from flags.variants import weightless
from flags.verdict import Verdict

Json = Mapping[str, Any]

STRATEGIES: Final = frozenset(
    {
        "default",
        "userWithId",
        "flexibleRollout",
        "gradualRolloutUserId",
        "gradualRolloutSessionId",
        "gradualRolloutRandom",
        "remoteAddress",
        "applicationHostname",
    }
)
_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*")
_DATE: Final = re.compile(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?(?:Z|[+-][0-9]{2}:[0-9]{2})\s*")
_PART: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"\s*(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){{2}}(?:-{_PART}(?:\.{_PART})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\s*"
)
_TYPED: Final = {
    "NUM": (_NUMBER, "a number such as 5 or 0.25"),
    "DATE": (_DATE, "a date of ISO 8601 with its zone, such as 2026-01-31T08:00:00Z"),
    "SEMVER": (_VERSION, "a semantic version such as 1.2.3"),
}

OFF: Final = "the flag is off for everybody"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person should mend in a flag."""

    flag: str
    text: str


def find(snapshot: Snapshot, names: Iterable[str], split: Iterable[splits.Split] = ()) -> list[Problem]:
    """Everything wrong with the flags `names`, in their order. Parses the whole snapshot: 10 ms for 1,000 flags.

    `split`: the routes that go by the variants of some of them. Without such a flag they go by their configuration, which is all right.
    Where no source could be read at all nothing is wrong with any flag: the snapshot's own error says it.
    """
    if snapshot.source == "none":
        return []
    try:
        document = parse(snapshot.features or EMPTY)
    except FeaturesError:
        return []  # sources check what they publish
    wanted = list(dict.fromkeys(names))
    finder = _Finder(document, dict(snapshot.refused), snapshot.source, wanted, list(split))
    found = []
    for name in wanted:
        try:
            found += [Problem(name, text) for text in dict.fromkeys(finder.flag(name))]
        except Exception as error:  # of one flag, and no other's affair
            found.append(Problem(name, f"it cannot be looked into ({type(error).__name__}: {str(error)[:100]})"))
    return found


class _Finder:
    def __init__(
        self, document: Json, refused: Mapping[str, str], source: str, wanted: Iterable[str], split: Iterable[splits.Split]
    ) -> None:
        self._features: dict[str, Json] = {feature["name"]: feature for feature in document["features"]}
        self._segments: dict[Any, Json] = {segment["id"]: segment for segment in document.get("segments") or () if "id" in segment}
        self._refused = refused
        self._splits = list(split)
        self._uncompiled = self._ask(wanted, document.get("segments") or [])
        self._where = "in the flag file" if source == "file" else "where flags.token looks; it may be archived, or its name misspelt"

    def flag(self, name: str) -> Iterator[str]:
        if name in self._refused:
            yield f"it is left out, so {OFF}: {self._refused[name]}"
            return
        feature = self._features.get(name)
        concerned = [each for each in self._splits if each.flag == name]
        if feature is None and concerned:
            return
        if feature is None:
            yield f"there is no such flag {self._where}: {OFF}"
            return
        yield from self._own(feature)
        for parent in feature.get("dependencies") or ():
            yield from self._parent(name, parent["feature"])
        for each in concerned:
            yield from splits.wrong(feature, each)

    def _own(self, feature: Json) -> Iterator[str]:
        found = [text for strategy in feature["strategies"] for text in self._strategy(strategy)]
        yield from found
        why = self._uncompiled.get(feature["name"])
        if why and not any(text.endswith(OFF) for text in found):
            yield f"Unleash's engine can't compile it ({why}): {OFF}"

    def _parent(self, child: str, name: str) -> Iterator[str]:
        parent = self._features.get(name)
        if name == child:
            yield f"it depends on itself: {OFF}"
        elif name in self._refused:
            yield f"its parent flag {name!r} is left out ({self._refused[name]}): {OFF}"
        elif parent is None:
            yield f"its parent flag {name!r} does not exist or is archived: {OFF}"
        elif parent.get("dependencies"):
            yield f"its parent flag {name!r} depends on a flag itself, which Unleash's engine does not follow: {OFF}"
        else:
            if weightless(parent):
                yield f"its parent flag {name!r} has variants that weigh nothing together, on which Unleash's engine breaks: {OFF}"
            for text in self._own(parent):
                yield f"its parent flag {name!r}: {text}"

    def _strategy(self, strategy: Json) -> Iterator[str]:
        name = strategy["name"]
        if name not in STRATEGIES:
            yield f"the strategy {name!r} is not one of Unleash's own: it applies to nobody"
        elif name == "flexibleRollout":
            yield from _share(name, "rollout", strategy)
        elif name.startswith("gradualRollout"):
            yield from _share(name, "percentage", strategy)
        elif name == "remoteAddress":
            addresses = str((strategy.get("parameters") or {}).get("IPs", ""))
            yield from _networks([part.strip() for part in addresses.split(",") if part.strip()], "the strategy 'remoteAddress'")
        for constraint in strategy.get("constraints") or ():
            yield from _constraint(constraint, "")
        for number in strategy.get("segments") or ():
            segment = self._segments.get(number)
            if segment is None:
                yield f"the segment {number} is not in the document: {OFF}"
            else:
                label = f"in the segment {segment.get('name') or number!r}, "
                for constraint in segment.get("constraints") or ():
                    yield from _constraint(constraint, label)

    def _ask(self, wanted: Iterable[str], segments: list[Json]) -> dict[str, str]:
        """What the engine can't compile of the flags wanted and their parents."""
        concerned = {name: self._features[name] for name in wanted if name in self._features}
        parents = [parent["feature"] for feature in concerned.values() for parent in feature.get("dependencies") or ()]
        concerned |= {name: self._features[name] for name in parents if name in self._features}
        return Verdict(orjson.dumps({"version": 1, "features": list(concerned.values()), "segments": segments})).uncompiled()


def _share(strategy: str, parameter: str, of: Json) -> Iterator[str]:
    share = (of.get("parameters") or {}).get(parameter)
    if isinstance(share, str) and re.fullmatch(r"\+?[0-9]{1,9}", share):
        if int(share) > 100:
            comes_of_it = "it applies to everybody" if strategy == "gradualRolloutRandom" else OFF
            yield f"the strategy {strategy!r} has a {parameter!r} of {share[:20]}, and 100 is everybody: {comes_of_it}"
    else:
        what = "no" if share is None else f"{str(share)[:20]!r} as"
        yield f"the strategy {strategy!r} has {what} {parameter!r}; a whole number from 0 to 100 is expected: it applies to nobody"


def _constraint(constraint: Json, where: str) -> Iterator[str]:
    operator, name = constraint["operator"], constraint["contextName"]
    about = f"{where}the constraint on {name!r}"
    inverted = bool(constraint.get("inverted"))
    value, values = constraint.get("value"), constraint.get("values") or []
    if operator not in words.OPERATORS:
        yield f"{about} has an operator {operator!r}, which is unknown: {OFF}"
    elif typed := _TYPED.get(operator.partition("_")[0]):
        yield from _typed(f"{about} ({operator})", value, *typed)
    elif operator == "REGEX":
        if value is None:
            yield f'{about} (REGEX) has no "value": it {"never holds" if inverted else "holds for everybody"}'
        elif not _is_regex(value):
            yield f"{about} (REGEX) has {value[:40]!r}, which is no regular expression there: it {_broken(inverted)}"
    elif not values:
        if operator in {"IN", "NOT_IN"}:
            everybody = (operator == "NOT_IN") != inverted
            yield f'{about} ({operator}) has no "values": it {"holds for everybody" if everybody else "never holds"}'
        else:
            yield f'{about} ({operator}) has no "values": {OFF}'
    elif operator == "IN_CIDR":
        yield from _networks(values, f"{about} (IN_CIDR)")


def _typed(about: str, value: object, pattern: re.Pattern[str], expected: str) -> Iterator[str]:
    if value is None:
        yield f'{about} has no "value", {expected} is expected: {OFF}'
    elif not pattern.fullmatch(str(value)):
        if any(other.fullmatch(str(value)) for other, _ in _TYPED.values()):
            yield f"{about} has {str(value)[:40]!r}, {expected} is expected: it compares something else than was meant"
        elif re.match(r"\s*v[0-9]", str(value)) and "SEMVER" in about:
            yield f"{about} has {str(value)[:40]!r}, {expected} is expected: it never holds"
        else:
            yield f"{about} has {str(value)[:40]!r}, {expected} is expected: {OFF}"


def _broken(inverted: bool) -> str:
    return "holds for everybody" if inverted else "never holds"


def _networks(networks: Iterable[str], about: str) -> Iterator[str]:
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield f"{about} has {network[:50]!r}, which is no address or network such as 10.0.0.0/8: it is passed over"


def _is_regex(pattern: str) -> bool:
    """Asked of the engine, whose dialect is not Python's: with an empty alternative, whatever is valid matches."""
    constraint = {"contextName": "x", "operator": "REGEX", "value": f"{pattern}\n|"}
    flag = {"name": "x", "enabled": True, "strategies": [{"name": "default", "constraints": [constraint]}]}
    return Verdict(orjson.dumps({"version": 1, "features": [flag]})).enabled("x", {"properties": {"x": "x"}})
