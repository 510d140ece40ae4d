"""The newest samples of a signature, as reports and commands show them: what differs, and the request as a curl line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from shadow import curl
from shadow.compare import Difference, Kind
from shadow.signature import signature as signature_of

MOST_VALUES = 10
"""Differences of one signature that an example shows."""
LONGEST_VALUE = 2_000
"""Characters of one value."""
LONGEST_LINE = 8_000
"""Characters of a curl line. A longer one is the console's to show."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One difference with the values of both sides as JSON; None where that side has nothing there."""

    path: str
    legacy: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange that showed a signature."""

    at: float
    """Unix seconds."""
    request_id: str
    method: str
    target: str
    served: str
    legacy: str
    """The upstream's status, or why it gave none."""
    candidate: str
    differences: tuple[Shown, ...]
    more: int
    """Differences of the same signature that are not shown."""
    curl: str
    """"" where the line is longer than LONGEST_LINE."""
    notes: tuple[str, ...]


def examples(signatures: Iterable[int], each: int = 1) -> dict[int, list[Example]]:
    """The newest `each` samples of these signatures, the newest first. One query for each signature: a report shows a few."""
    from shadow.models import Sighting

    found: dict[int, list[Example]] = {}
    for number in signatures:
        rows = Sighting.objects.filter(signature_id=number).select_related("signature", "sample").order_by("-sample_id")[:each]
        found[number] = [example(row.sample, (row.signature.kind, row.signature.path)) for row in rows]
    return found


class Sampled(Protocol):
    """An exchange that differed: shadow.judge.Sample, or one that was stored."""

    @property
    def at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def served(self) -> str: ...
    @property
    def legacy(self) -> dict[str, Any]: ...
    @property
    def candidate(self) -> dict[str, Any]: ...
    @property
    def differences(self) -> list[dict[str, Any]]: ...
    @property
    def request(self) -> dict[str, Any] | None: ...


def example(sample: Sampled, of: tuple[str, str]) -> Example:
    """`sample` as an example of the signature `of`: its kind and path."""
    own = [item for item in sample.differences if _signature(item) == of] or sample.differences
    text = curl.line(sample.method, sample.target, sample.request)
    notes = curl.notes(sample.method, sample.request)
    if len(text) > LONGEST_LINE:
        text, notes = "", ["The curl line is too long to be shown here; the console has it."]
    return Example(
        sample.at,
        sample.request_id,
        sample.method,
        sample.target,
        sample.served,
        _answer(sample.legacy),
        _answer(sample.candidate),
        tuple(_shown(item) for item in own[:MOST_VALUES]),
        max(0, len(own) - MOST_VALUES),
        text,
        tuple(notes),
    )


def _signature(item: dict[str, Any]) -> tuple[str, str]:
    kind, path = signature_of(Difference(Kind(item["kind"]), item["path"]))
    return kind.value, path


def _answer(side: dict[str, Any]) -> str:
    return str(side["status"]) if side.get("status") else f"no answer: {side.get('error') or 'unknown'}"


def _shown(item: dict[str, Any]) -> Shown:
    kind = item["kind"]
    return Shown(
        item["path"],
        None if kind == Kind.EXTRA else _value(item["legacy"]),
        None if kind == Kind.MISSING else _value(item["candidate"]),
    )


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
