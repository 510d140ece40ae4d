"""Writes events down, in the transaction of the change or not at all."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.db import connection
from django.utils import timezone

from events.envelope import MOST_BYTES, MOST_KEY, moment, partition
from legacy_django.outbox.models import Event

SOURCE = "shop"


class OutsideTransactionError(RuntimeError):
    """`emit` was called where a change could be kept and its event lost, or the other way round."""


def emit(kind: str, key: str, data: dict[str, Any], *, origin: str = SOURCE) -> Event:
    """Writes one event. Call it after the change itself, in the same transaction: the change holds the lock on its row then, and so events
    of one key are numbered in the order in which they are committed.

    `kind`: such as shop.review.written. `origin`: the store that the change was made in first.

    Raises:
        OutsideTransactionError: there is no transaction.
        ValueError: the key or the data is too long to be published.
    """
    if not connection.in_atomic_block:
        raise OutsideTransactionError(f"{kind} of {key}: emit() belongs inside transaction.atomic(), with the change that it tells of")
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MOST_BYTES or not 0 < len(key) <= MOST_KEY:
        raise ValueError(f"{kind} of {key[:MOST_KEY]}: at most {MOST_BYTES} bytes of data, and a key of 1 to {MOST_KEY} characters")
    return Event.objects.create(
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
