"""Banyan's own format: one request a line, as a JSON object (docs/reference/recordings.md). It can be read while it is still written."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from recorded import checked
from recorded.checked import EntryError
from recorded.entry import Entry, Fields, Trouble


def read(file: BinaryIO) -> Iterator[Entry | Trouble]:
    """What is in it. Empty lines are nothing."""
    for number, line in enumerate(checked.lines(file), 1):
        if line is None:
            yield Trouble(number, f"the line is longer than {checked.MAX_ENTRY} bytes")
        elif line.strip():
            yield entry(line, number)


def entry(line: bytes, number: int) -> Entry | Trouble:
    """What one line says."""
    try:
        told = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Trouble(number, "the line is no JSON" if line.endswith(b"\n") else "the line is no JSON; perhaps the file ends within it")
    try:
        return _entry(checked.mapping(told, "JSON object"), number)
    except EntryError as error:
        return Trouble(number, str(error))


def _entry(told: dict[str, Any], number: int) -> Entry:
    return Entry(
        number,
        checked.method(told.get("method")),
        checked.target(told.get("target")),
        checked.number(told.get("at")),
        _fields(told.get("headers")),
        checked.body(told.get("body"), told.get("body_base64")),
        checked.status(told.get("status")),
        checked.number(told.get("duration")),
        checked.size(told.get("size")),
        _fields(told.get("answer_headers")),
        checked.body(told.get("answer_body"), told.get("answer_body_base64")),
        checked.text_or_none(told.get("client")),
    )


def _fields(told: object) -> Fields:
    if told is None:
        return ()
    if not isinstance(told, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in told):
        raise EntryError("its header fields are no list of pairs")
    return checked.fields((pair[0], pair[1]) for pair in told)


def line(told: Entry) -> bytes:
    """What `entry` reads, with its end."""
    found: dict[str, Any] = {"at": told.at, "method": told.method, "target": told.target}
    found["headers"] = _plain(told.fields)
    found |= _body("body", told.body)
    found |= {"status": told.status, "duration": told.duration, "size": told.size}
    found["answer_headers"] = _plain(told.answer_fields)
    found |= _body("answer_body", told.answer_body)
    found["client"] = told.client
    return msgspec.json.encode({key: value for key, value in found.items() if value is not None and value != []}) + b"\n"


def _plain(fields: Fields) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in fields]


def _body(name: str, data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
