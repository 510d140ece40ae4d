"""What the shop's events do to this service's tables."""

from __future__ import annotations

from events.envelope import Event, parsed
from events.inbox import Execute

_WRITE = """
    INSERT INTO reviews (id, item, user, user_name, rating, title, body, reply, helpful, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET item = excluded.item, user = excluded.user, user_name = excluded.user_name, rating = excluded.rating,
    title = excluded.title, body = excluded.body, reply = excluded.reply, helpful = excluded.helpful, created_at = excluded.created_at
"""


def apply(execute: Execute, event: Event) -> None:
    """
    Raises:
        KeyError, TypeError, ValueError, sqlite3.Error: the event is not as it should be.
    """
    told = event.data
    if event.type == "shop.review.written":
        number, item, user = int(told["id"]), int(told["item"]), int(told["user"])
        # One review of each user and item, and where there are two the shop's is the one that stays.
        execute("DELETE FROM reviews WHERE item = ? AND user = ? AND id <> ?", item, user, number)
        words = (str(told["user_name"]), int(told["rating"]), str(told["title"]), str(told["body"]), told["reply"], int(told["helpful"]))
        execute(_WRITE, number, item, user, *words, parsed(told["created_at"]).strftime("%Y-%m-%dT%H:%M:%S.%f"))
    elif event.type == "shop.review.deleted":
        execute("DELETE FROM reviews WHERE id = ?", int(told["id"]))
    elif event.type == "shop.item.changed":
        execute("INSERT INTO items VALUES (?) ON CONFLICT (id) DO NOTHING", int(told["id"]))
