"""What flags are told of a request beside who is calling: its route and method, and the header fields that the configuration names.

Strategies see these as properties, so that a flag can be on for an app's newest version, or for GET alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from flags.snapshot import Context

LONGEST: Final = 256
"""Characters of a value. A longer one is not told: decisions are remembered by these values, and a client chooses them."""


class Headers:
    """The fields that flags may read."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names)
        self._marks = tuple(b"\r\n" + name.encode() + b":" for name in self._names)
        self.any = bool(self._names)

    def values(self, fields: bytes) -> tuple[str | None, ...]:
        """What each of them says, in the order of the configuration; None where the flags are not told it. `fields`: each line with its
        CRLF before it. A field that comes several times is joined (RFC 9110, 5.3).

        A lowered copy and a search take 0.3 µs where a pattern without regard to case takes 3 (a head of 450 bytes, 12 fields).
        """
        lowered = fields.lower()
        return tuple([_value(fields, lowered, mark) for mark in self._marks])

    def named(self, values: tuple[str | None, ...]) -> dict[str, str]:
        """`values` by lower-case name."""
        return {name: value for name, value in zip(self._names, values, strict=True) if value is not None}

    def read(self, fields: bytes) -> dict[str, str]:
        """`values` by lower-case name."""
        return self.named(self.values(fields))


def _value(fields: bytes, lowered: bytes, mark: bytes) -> str | None:
    at = lowered.find(mark)
    if at < 0:
        return None
    found: list[bytes] = []
    while at >= 0:
        start = at + len(mark)
        end = fields.find(b"\r", start)
        if end < 0:
            end = len(fields)
        found.append(fields[start:end].strip(b" \t"))
        at = lowered.find(mark, end)
    value = found[0] if len(found) == 1 else b", ".join(found)
    return value.decode("latin-1") if len(value) <= LONGEST else None


def context(
    route: str,
    method: str,
    address: str,
    user_id: str | None,
    session_id: str | None,
    claims: Mapping[str, str],
    headers: Mapping[str, str],
    fleeting: bool = False,
) -> Context:
    """Whom and what the flags are asked about. Claims and headers never share a name, nor one of these two (config)."""
    return Context(user_id, session_id, address, {"route": route, "method": method, **claims, **headers}, None, fleeting)
