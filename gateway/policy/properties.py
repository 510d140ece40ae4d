"""What flags are told of a request beside who is calling: its route and method, and the header fields that the configuration names.

Strategies see these as properties, so that a flag can be on for an app's newest version, or for GET alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from flags.snapshot import Context

LONGEST: Final = 256
"""Characters of a value. A longer one is not told: decisions are remembered by these values, and a client chooses them."""


class Headers:
    """The fields that flags may read."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = [name.lower() for name in names]
        self._pattern = re.compile(rb"\r\n(" + b"|".join(re.escape(name.encode()) for name in wanted) + rb"):([^\r]*)", re.IGNORECASE)
        self.any = bool(wanted)

    def read(self, fields: bytes) -> dict[str, str]:
        """By lower-case name; one that comes several times is joined (RFC 9110, 5.3). `fields`: each line with its CRLF before it."""
        found: dict[str, str] = {}
        if not self.any:
            return found
        for name, value in self._pattern.findall(fields):
            key, text = name.decode().lower(), value.strip(b" \t").decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return {key: text for key, text in found.items() if len(text) <= LONGEST}


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
