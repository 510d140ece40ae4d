"""Things that happened at one moment: written by whoever saw them, kept once however many did. Moments are Unix seconds."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from django.db import transaction
from django.db.models import Max

from shadow.storable import storable

TURN: Final = "turn "
"""With this begins the key of a gate that turned."""
MAX_ROWS: Final = 50_000
"""Kept at most, the newest."""
MAX_TEXT: Final = 500
MAX_BY: Final = 200
"""Characters."""


def record(kind: str, at: float, text: str, *, route: str = "", by: str = "", detail: dict[str, Any] | None = None, key: str = "") -> bool:
    """Keeps it; whether it is new. `kind` is a shadow.models.Event.Kind; events of one kind and `key` are the same, and "" is none.

    Raises:
        django.db.Error: the database refused; the same may be recorded again.
    """
    from shadow.models import Event

    row = Event(
        at=at,
        kind=kind,
        route=storable(route)[:100],
        text=storable(text)[:MAX_TEXT],
        by=storable(by)[:MAX_BY],
        detail=storable(detail or {}),
        key=key,
    )
    with transaction.atomic():
        if key and Event.objects.filter(kind=kind, key=key).exists():
            return False
        Event.objects.bulk_create([row], ignore_conflicts=bool(key))
    return True


def key(*parts: object) -> str:
    """A key of some length for what parts of any length make up."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def amend(kind: str, key: str, text: str, detail: dict[str, Any]) -> None:
    """Says anew what came of an event that goes on."""
    from shadow.models import Event

    Event.objects.filter(kind=kind, key=key).update(text=storable(text)[:MAX_TEXT], detail=storable(detail))


def purge(before: float) -> None:
    """Removes what happened before the moment `before`, and all but the newest MAX_ROWS. The last turn of each gate stays: whether it has
    turned since is held against that."""
    from shadow.models import Event

    turns = Event.objects.filter(kind=Event.Kind.GATE, key__startswith=TURN).values_list("route").annotate(last=Max("pk"))
    Event.objects.filter(at__lt=before).exclude(pk__in=[last for _route, last in turns]).delete()
    for key in list(Event.objects.order_by("-pk").values_list("pk", flat=True)[MAX_ROWS : MAX_ROWS + 1]):
        Event.objects.filter(pk__lte=key).delete()
