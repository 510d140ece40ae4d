"""Reads pgoutput, the messages of PostgreSQL's own logical decoding, protocol version 1.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html. Only what a publication of inserts sends: the begin and
the end of a transaction, what a table looks like, a row, and what may be passed over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SKIPPED: Final = frozenset(b"YOTM")
"""Types, origins, truncations, and messages of pg_logical_emit_message."""


class PgoutputError(ValueError):
    """These bytes are no message that is known here."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Of a transaction."""

    transaction: int
    """32 bits of it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Its end."""

    end: int
    """Where the log goes on behind it: what a slot is advanced to."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, as the rows after it are to be read."""

    number: int
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """A row of the table with this number, its columns as text."""

    relation: int
    values: tuple[str | None, ...]


type Message = Begin | Commit | Relation | Insert | None


def read(data: bytes) -> Message:
    """One message; None: one that may be passed over.

    Raises:
        PgoutputError: it is another one, or cut short.
    """
    try:
        return _read(data)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise PgoutputError(f"a message of {len(data)} bytes is cut short: {error}") from error


def _read(data: bytes) -> Message:
    kind = data[0]
    if kind == ord("I"):
        (relation,) = struct.unpack_from("!I", data, 1)
        if data[5] != ord("N"):
            raise PgoutputError("an insert without its row")
        return Insert(relation, _row(data, 6))
    if kind == ord("B"):
        _, _, transaction = struct.unpack_from("!QqI", data, 1)
        return Begin(transaction)
    if kind == ord("C"):
        _, _, end, _ = struct.unpack_from("!BQQq", data, 1)
        return Commit(end)
    if kind == ord("R"):
        return _relation(data)
    if kind in SKIPPED:
        return None
    raise PgoutputError(f"a message of the kind {chr(kind)!r}")


def _relation(data: bytes) -> Relation:
    (number,) = struct.unpack_from("!I", data, 1)
    _, at = _text(data, 5)  # its schema
    name, at = _text(data, at)
    (count,) = struct.unpack_from("!H", data, at + 1)  # behind the replica identity
    at += 3
    columns = []
    for _ in range(count):
        column, at = _text(data, at + 1)  # behind its flags
        columns.append(column)
        struct.unpack_from("!Ii", data, at)  # its type, and that one's modifier
        at += 8
    return Relation(number, name, tuple(columns))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise PgoutputError("a name is cut short")
    return data[at:end].decode(), end + 1


def _row(data: bytes, at: int) -> tuple[str | None, ...]:
    (count,) = struct.unpack_from("!H", data, at)
    at += 2
    values: list[str | None] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == ord("t"):
            (length,) = struct.unpack_from("!I", data, at)
            at += 4
            if at + length > len(data):
                raise PgoutputError("a row is cut short")
            values.append(data[at : at + length].decode())
            at += length
        elif kind == ord("n"):
            values.append(None)
        else:
            raise PgoutputError(f"a value of the kind {chr(kind)!r}")  # unchanged TOAST is in updates only, binary was not asked for
    return tuple(values)
