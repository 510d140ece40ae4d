"""What a form was made from, so that of two reviewers the second is told what the first did, instead of undoing it unknowingly."""

from __future__ import annotations

from shadow.models import Signature, StateChange


def seen(row: Signature) -> str:
    """The state of `row` and since when, as a form carries it."""
    return token(row.state, row.state_since)


def token(state: str, since: float) -> str:
    """As `seen`, of a line that has no row any more."""
    return f"{state}@{since:.6f}"


def meanwhile(row: Signature, carried: str) -> list[StateChange] | None:
    """What happened to `row` since the form that carries `carried` was made, the oldest first; None where nothing did.

    Of a form that says nothing that can be read, all that ever happened.
    """
    if carried == seen(row):
        return None
    try:
        since = float(carried.partition("@")[2])
    except ValueError:
        since = 0.0
    return list(row.changes.filter(at__gt=since + 1e-6).order_by("pk"))
