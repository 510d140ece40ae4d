"""Writes events down, in the transaction of the change or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.utils import timezone

from events.envelope import MOST_BYTES, MOST_KEY, moment, partition
from legacy_django.outbox.models import Event

SOURCE = "shop"


class OutsideTransactionError(RuntimeError):
    """`emit` was called where a change could be kept and its event lost, or the other way round."""


def emit(kind: str, key: str, data: dict[str, Any], *, origin: str = SOURCE) -> None:
    """Writes one event, like `emit_all`."""
    emit_all([(kind, key, data)], origin=origin)


def emit_all(changes: Iterable[tuple[str, str, dict[str, Any]]], *, origin: str = SOURCE) -> None:
    """Writes events, each (kind, key, data), in one statement. Call it after the changes themselves, in the same transaction: they hold the
    locks on their rows then, and so events of one key are numbered in the order in which they are committed.

    Kind: such as shop.review.written. `origin`: the store that the change was made in first.

    Raises:
        OutsideTransactionError: there is no transaction.
        ValueError: a key or its data is too long to be published.
    """
    if not connection.in_atomic_block:
        raise OutsideTransactionError("emit() belongs inside transaction.atomic(), with the change that it tells of")
    Event.objects.bulk_create(_row(kind, key, data, origin) for kind, key, data in changes)


def _row(kind: str, key: str, data: dict[str, Any], origin: str) -> Event:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MOST_BYTES or not 0 < len(key) <= MOST_KEY:
        raise ValueError(f"{kind} of {key[:MOST_KEY]}: at most {MOST_BYTES} bytes of data, and a key of 1 to {MOST_KEY} characters")
    return Event(
        event_id=uuid.uuid4(),
        partition=partition(key),
        key=key,
        source=SOURCE,
        type=kind,
        subject=key.replace("-", "/", 1),
        origin=origin,
        time=moment(timezone.now()),
        data=text,
    )
