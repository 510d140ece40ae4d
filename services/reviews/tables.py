"""What the reviews service keeps of the shop's data."""

from __future__ import annotations

from datetime import UTC, datetime

from services.database import Table
from services.shop import Row


def _review(row: Row) -> Row:
    *fields, created_at = row
    return (*fields, _moment(created_at))


def _moment(value: datetime | str) -> str:
    """One text for the same instant out of either database, to the microsecond: as text it sorts as the instants do."""
    # SQLite's columns hold what Django wrote: UTC, without saying so, and with a fraction only where there is one.
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")


TABLES = (
    Table("items", ["id INTEGER PRIMARY KEY"], "SELECT id FROM items_item"),
    Table(
        "reviews",
        [
            "id INTEGER PRIMARY KEY",
            "item INTEGER NOT NULL",
            "user INTEGER NOT NULL",
            "user_name TEXT NOT NULL",
            "rating INTEGER NOT NULL",
            "title TEXT NOT NULL",
            "body TEXT NOT NULL",
            "reply TEXT",
            "helpful INTEGER NOT NULL",
            "created_at TEXT NOT NULL",
        ],
        "SELECT r.id, r.item_id, r.user_id, u.username, r.rating, r.title, r.body, r.reply, r.helpful, r.created_at"
        " FROM reviews_review r JOIN auth_user u ON u.id = r.user_id ORDER BY r.id",
        convert=_review,
        index="item, created_at, id",
    ),
    Table("users", ["id INTEGER PRIMARY KEY", "name TEXT NOT NULL"], "SELECT id, username FROM auth_user"),
)
