"""A row of an outbox, the same in either database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from events.envelope import Event, parsed

COLUMNS: Final = "number, event_id, source, type, subject, time, key, origin, data"
TABLE: Final = "outbox_event"
SQLITE_TABLE: Final = f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, partition INTEGER NOT NULL, key TEXT NOT NULL,
        source TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, origin TEXT NOT NULL, time TEXT NOT NULL, data TEXT NOT NULL
    )
"""
"""Of a store without Django. A number is never given twice, though rows are taken out."""


def event(row: Sequence[Any], transaction: int | None = None) -> Event:
    """The event in `row`, whose columns are COLUMNS."""
    number, identifier, source, kind, subject, time, key, origin, data = row
    # Django keeps a UUID without its hyphens in SQLite. Hyphens or none, it is to be the same text to everybody.
    return Event(_uuid(str(identifier)), source, kind, subject, parsed(time), key, int(number), origin, json.loads(data), transaction)


def _uuid(text: str) -> str:
    plain = text.replace("-", "").lower()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"
