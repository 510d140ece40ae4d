"""What a service was told, told on: events in its own outbox, in the transaction of the change."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from events.envelope import moment, partition
from services.database import Database


def tells(database: Database) -> bool:
    """Whether somebody wants to know what is written here (`import --outbox`)."""
    return database.first("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'outbox_event'") is not None


def emit(database: Database, service: str, what: str, key: str, data: dict[str, Any]) -> None:
    """Writes one event of `service`, such as review.written. The service is its origin."""
    database.all(
        "INSERT INTO outbox_event (event_id, partition, key, source, type, subject, origin, time, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        str(uuid.uuid4()),
        partition(key),
        key,
        service,
        f"{service}.{what}",
        key.replace("-", "/", 1),
        service,
        moment(datetime.now(UTC)),
        json.dumps(data, ensure_ascii=False, separators=(",", ":")),
    )
