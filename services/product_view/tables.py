"""What the documents are made of, as the shop has it."""

from __future__ import annotations

from decimal import Decimal

from services.database import Table
from services.shop import Row


def _product(row: Row) -> Row:
    number, name, category, description, price, discount = row
    return number, name, category, description, money(price), discount


def _option(row: Row) -> Row:
    number, item, name, surcharge, stock = row
    return number, item, name, money(surcharge), stock


def money(value: Decimal | float | str) -> str:
    """12.50: one text for the same amount out of either database, and out of an event."""
    return str(Decimal(str(value)).quantize(Decimal("0.01")))


TABLES = (
    Table(
        "products",
        [
            "id INTEGER PRIMARY KEY", "name TEXT NOT NULL", "category TEXT NOT NULL", "description TEXT NOT NULL", "price TEXT NOT NULL",
            "discount INTEGER NOT NULL",
        ],
        "SELECT i.id, i.name, i.category, i.description, i.price, COALESCE(d.percent, 0)"
        " FROM items_item i LEFT JOIN discounts_discount d ON d.item_id = i.id ORDER BY i.id",
        convert=_product,
    ),
    Table(
        "options",
        ["id INTEGER PRIMARY KEY", "item INTEGER NOT NULL", "name TEXT NOT NULL", "surcharge TEXT NOT NULL", "stock INTEGER NOT NULL"],
        "SELECT id, item_id, name, surcharge, stock FROM items_option ORDER BY id",
        convert=_option,
        index="item, id",
    ),
    Table(
        "ratings",
        ["id INTEGER PRIMARY KEY", "item INTEGER NOT NULL", "rating INTEGER NOT NULL"],
        "SELECT id, item_id, rating FROM reviews_review ORDER BY id",
        index="item, rating",
    ),
)  # fmt: skip
