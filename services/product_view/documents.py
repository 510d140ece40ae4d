"""Makes the documents: all of them from a new copy, and one anew for each event.

Readers see the old documents until the copy's transaction is over, then all of the new ones. A part's time is when the change was made that
it shows; after a rebuild, when that was.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from events.envelope import Event, moment
from events.inbox import Execute
from events.sqlite_store import execute_on
from services.product_view.tables import money

PARTS: Final = ("product", "price", "discount", "stock", "reviews")

_PRODUCT = """
    INSERT INTO products VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, category = excluded.category,
    description = excluded.description, price = excluded.price, discount = excluded.discount
"""
_OPTION = """
    INSERT INTO options VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET item = excluded.item, name = excluded.name,
    surcharge = excluded.surcharge, stock = excluded.stock
"""
_RATING = "INSERT INTO ratings VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET item = excluded.item, rating = excluded.rating"
_DOCUMENT = """
    INSERT INTO documents VALUES (?, ?, ?, ?)
    ON CONFLICT (item) DO UPDATE SET body = excluded.body, tag = excluded.tag, as_of = excluded.as_of
"""


def rebuild(connection: sqlite3.Connection) -> None:
    """All of them, from tables that were just filled, in the same transaction."""
    connection.execute("DROP TABLE IF EXISTS documents")
    connection.execute("CREATE TABLE documents (item INTEGER PRIMARY KEY, body TEXT NOT NULL, tag TEXT NOT NULL, as_of TEXT NOT NULL)")
    execute = execute_on(connection)
    as_of = dict.fromkeys(PARTS, moment(datetime.now(UTC)))
    for (item,) in execute("SELECT id FROM products"):
        _write(execute, item, as_of)


def apply(execute: Execute, event: Event) -> None:
    """
    Raises:
        KeyError, TypeError, ValueError, ArithmeticError, sqlite3.Error: the event is not as it should be.
    """
    told = event.data
    if event.type == "shop.item.changed":
        item, price, discount = int(told["id"]), money(told["price"]), int(told["discount"])
        before = execute("SELECT price, discount FROM products WHERE id = ?", item)
        words = (str(told["name"]), str(told["category"]), str(told["description"]))
        execute(_PRODUCT, item, *words, price, discount)
        # The event has all of the item. What has changed of it is what is new.
        changed = {"product", *(part for part, old, new in _pairs(before, price, discount) if old != new)}
    elif event.type == "shop.option.changed":
        item, changed = int(told["item"]), {"stock"}
        execute(_OPTION, int(told["id"]), item, str(told["name"]), money(told["surcharge"]), int(told["stock"]))
    elif event.type == "shop.review.written":
        item, changed = int(told["item"]), {"reviews"}
        execute(_RATING, int(told["id"]), item, int(told["rating"]))
    elif event.type == "shop.review.deleted":
        item, changed = int(told["item"]), {"reviews"}
        execute("DELETE FROM ratings WHERE id = ?", int(told["id"]))
    else:
        return
    rows = execute("SELECT as_of FROM documents WHERE item = ?", item)
    now = moment(event.time)
    old = json.loads(rows[0][0]) if rows else dict.fromkeys(PARTS, now)
    _write(execute, item, {part: max(now, old[part]) if part in changed else old[part] for part in PARTS})


def _pairs(before: Any, price: str, discount: int) -> list[tuple[str, Any, Any]]:
    old = before[0] if before else (None, None)
    return [("price", old[0], price), ("discount", old[1], discount)]


def _write(execute: Execute, item: int, as_of: dict[str, str]) -> None:
    """The document of `item`; none where the shop has told of its options and reviews, and not of itself yet."""
    found = execute("SELECT id, name, category, description, price, discount FROM products WHERE id = ?", item)
    if not found:
        return
    options = execute("SELECT id, name, surcharge, stock FROM options WHERE item = ? ORDER BY id", item)
    counted = execute("SELECT rating, COUNT(*) FROM ratings WHERE item = ? GROUP BY rating", item)
    stars = {int(row[0]): int(row[1]) for row in counted}
    body = json.dumps({**document(found[0], options, stars), "as_of": as_of}, ensure_ascii=False, separators=(",", ":"))
    tag = hashlib.sha256(body.encode()).hexdigest()[:24]
    execute(_DOCUMENT, item, body, tag, json.dumps(as_of))


def document(product: Any, options: Any, stars: dict[int, int]) -> dict[str, Any]:
    """What the shop's own view of the same name says (legacy_django/items/product_view.py), but for the times."""
    number, name, category, description, price, discount = product
    reduced = (Decimal(price) * (100 - discount) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    count = sum(stars.values())
    total = sum(star * times for star, times in stars.items())
    return {
        "id": number,
        "name": name,
        "category": category,
        "description": description,
        "price": float(price),
        "discount": discount,
        "discounted_price": float(reduced),
        "options": [{"id": option, "name": label, "surcharge": float(extra), "stock": stock} for option, label, extra, stock in options],
        "stock": sum(stock for *_, stock in options),
        "reviews": {
            "count": count,
            "average": round(total / count, 3) if count else None,
            "stars": {str(star): stars.get(star, 0) for star in range(1, 6)},
        },
    }
