"""One request as a recording tells it, whatever the recording's format."""

from __future__ import annotations

from dataclasses import dataclass

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A request, and of its answer what the recording kept. Times are seconds since the epoch, durations seconds."""

    where: int
    """The line, or the number of the entry, in its file: from 1."""
    method: str
    target: str
    """Path and query, in origin form (RFC 9112, 3.2.1)."""
    at: float | None = None
    fields: Fields = ()
    """As sent; empty where the recording has none (an access log)."""
    body: bytes | None = None
    """None: the recording did not keep it."""
    status: int | None = None
    duration: float | None = None
    size: int | None = None
    """Bytes of the answer's body."""
    answer_fields: Fields = ()
    answer_body: bytes | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What could not be read. The rest of the recording goes on."""

    where: int
    why: str
    """For a person: what is wrong with this line or entry."""
