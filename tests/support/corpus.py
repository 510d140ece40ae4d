"""Reads tests/corpus/*.toml. The format is described in its README."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "corpus"
WAYS = ("whole", "pieces", "trailing")
ASKED = "GET /asked HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One row of the corpus. The keys are those of the README."""

    item: int
    name: str
    file: str
    send: bytes
    status: tuple[int, ...] = (200,)
    error: str = ""
    closes: bool = False
    cut: bool = False
    reaches: str | int | tuple[bytes, ...] = "nothing"
    body: bytes | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)
    candidate: bool = False
    answer: bytes = b""
    early: bool = False
    then: str = ""
    gets: bytes | None = None
    shows: dict[str, list[str]] = field(default_factory=dict)
    reused: bool = True
    half_close: bool = False
    ways: tuple[str, ...] = WAYS
    in_pieces: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.item:02}-{self.name}"

    def sent(self, way: str) -> Case:
        """The same, with what is otherwise this way."""
        return replace(self, **_typed(self.in_pieces)) if way == "pieces" else self


_KEYS = {each.name for each in fields(Case)} - {"file"} | {"each"}


@cache
def cases() -> tuple[Case, ...]:
    """Every case, in the order of the files."""
    found = tuple(case for path in sorted(FOLDER.glob("*.toml")) for case in _of_file(path))
    names = [case.id for case in found]
    doubled = {name for name in names if names.count(name) > 1}
    assert not doubled, f"named twice: {doubled}"
    return found


def _of_file(path: Path) -> Iterator[Case]:
    document = tomllib.loads(path.read_text())
    for row in document["case"]:
        unknown = row.keys() - _KEYS
        assert not unknown, f"{path.name}: {row['name']}: {unknown}"
        whole = {"send": ASKED, **document["defaults"], **row}
        variants = whole.pop("each", None)
        if variants is None:
            yield Case(file=path.name, **_typed(whole))
            continue
        for variant in variants:
            more = dict(variant) if isinstance(variant, dict) else {"put": variant}
            put = more.pop("put")
            filled = {key: _fill(value, put) if key in ("send", "answer", "reaches") else value for key, value in whole.items()}
            yield Case(file=path.name, **_typed({**filled, **more, "name": f"{whole['name']}-{_readable(put)}"}))


def _fill(value: Any, put: str) -> Any:
    if isinstance(value, list):
        return [_fill(each, put) for each in value]
    return value.replace("{}", put) if isinstance(value, str) else value


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    for key in ("send", "answer", "body", "gets"):
        if key in row:
            row[key] = _bytes(row[key])
    if "status" in row:
        row["status"] = tuple(row["status"]) if isinstance(row["status"], list) else (row["status"],)
    if isinstance(row.get("reaches"), list):
        row["reaches"] = tuple(line.encode("latin-1") for line in row["reaches"])
    if "ways" in row:
        row["ways"] = tuple(row["ways"])
    return row


def _bytes(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_bytes(part) for part in value)
    if isinstance(value, dict):
        return _bytes(value["repeat"]) * int(value["times"])
    return str(value).encode("latin-1")


def _readable(put: str) -> str:
    """Part of a test's name: printable, short, and still telling two values apart. Without backslashes, which pytest would double."""
    text = re.sub(r"\[|\]|::", "_", put.encode("unicode_escape").decode("ascii").replace("\\", "%"))
    return f"{text[:60]}({len(text)})" if len(text) > 66 else text or "empty"
