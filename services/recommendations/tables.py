"""What the recommendations service keeps of the shop's data."""

from __future__ import annotations

from services.database import Table
from services.shop import Row


def _item(row: Row) -> Row:
    number, name, price = row
    return number, name, float(price)  # PostgreSQL hands over a Decimal


TABLES = (
    Table(
        "items",
        ["id INTEGER PRIMARY KEY", "name TEXT NOT NULL", "price REAL NOT NULL"],
        "SELECT id, name, price FROM items_item",
        convert=_item,
    ),
    Table("users", ["id INTEGER PRIMARY KEY"], "SELECT id FROM auth_user WHERE is_active"),
    Table(
        "similarities",
        ["item INTEGER NOT NULL", "other INTEGER NOT NULL", "score INTEGER NOT NULL"],
        "SELECT item_id, other_id, score FROM recommendations_similarity",
        index="item, score, other",
    ),
    Table(
        "suggestions",
        ["user INTEGER NOT NULL", "item INTEGER NOT NULL", "score INTEGER NOT NULL"],
        "SELECT user_id, item_id, score FROM recommendations_suggestion",
        index="user, score, item",
    ),
)
