"""Writes events as the shop does, straight into its table; and reads what a stream holds."""

from __future__ import annotations

import json
import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any

import nats
import psycopg

from events.envelope import Event, decoded, moment, partition
from events.stream import STREAM

FIELDS = "event_id, partition, key, source, type, subject, origin, time, data"


def row(key: str, data: dict[str, Any], kind: str = "shop.thing.changed", origin: str = "shop") -> tuple[Any, ...]:
    return (str(uuid.uuid4()), partition(key), key, "shop", kind, key, origin, moment(datetime.now(UTC)), json.dumps(data))


def write(connection: psycopg.Connection[Any] | sqlite3.Connection, key: str, number: int, **more: Any) -> None:
    """One event; `number` is its data's `n`."""
    mark = "%s" if isinstance(connection, psycopg.Connection) else "?"
    statement = f"INSERT INTO outbox_event ({FIELDS}) VALUES ({', '.join([mark] * 9)})"  # noqa: S608 - constants
    connection.execute(statement, row(key, {"n": number}, **more))  # type: ignore[arg-type]


def event(key: str, number: int, *, sequence: int = 0, kind: str = "shop.thing.changed", **more: Any) -> Event:
    now = datetime.now(UTC)
    return Event(str(uuid.uuid4()), "shop", kind, key, now, key, sequence or number + 1, more.pop("origin", "shop"), {"n": number, **more})


async def in_stream(url: str) -> list[Event]:
    """Everything, in its order."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream(timeout=5)
        last = (await stream.stream_info(STREAM)).state.last_seq
        found = []
        for number in range(1, last + 1):
            message = await stream.get_msg(STREAM, number)
            assert message.data is not None
            found.append(decoded(message.data))
        return found
    finally:
        await client.close()
