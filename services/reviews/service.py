"""/api/v1/reviews/…, answering as the shop does, but for the faults that are switched on."""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.command import Service
from services.database import Database, Pool
from services.faults import Fault
from services.reviews.tables import TABLES
from services.serving import application, identifier, not_found, parameter

PAGE = 10


class Reviews:
    """The endpoints."""

    def __init__(self, pool: Pool, faults: frozenset[Fault]) -> None:
        self._pool = pool
        self._faults = faults

    def listing(self, request: Request) -> Response:
        """?item=&page=: newest first, of one item or of all."""
        item, page = parameter(request, "item"), parameter(request, "page") or 1
        start = (page - 1) * PAGE
        where, arguments = ("WHERE item = ?", (item,)) if item is not None else ("", ())
        with self._pool.reading() as database:
            if item is not None:
                _require_item(database, item)
            totals = self._totals(database, where, *arguments)
            count = totals.pop("rows")
            if start and start >= count:
                raise not_found("Page")
            rows = database.all(
                f"SELECT * FROM reviews {where} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",  # noqa: S608 - `where` is one of two
                *arguments,
                PAGE,
                start,
            )
        following = page + 1 if start + PAGE < count else None
        return JSONResponse({**totals, "page": page, "next": following, "results": [self._in_list(row) for row in rows]})

    def review(self, request: Request) -> Response:
        number = identifier(request, "review", "Review")
        with self._pool.reading() as database:
            found = database.first("SELECT * FROM reviews WHERE id = ?", number)
        if found is None:
            raise not_found("Review")
        return JSONResponse(_as_json(found))

    def summary(self, request: Request) -> Response:
        item = identifier(request, "item", "Item")
        with self._pool.reading() as database:
            _require_item(database, item)
            totals = self._totals(database, "WHERE item = ?", item)
            stars = {
                row["rating"]: row["n"]
                for row in database.all("SELECT rating, COUNT(*) AS n FROM reviews WHERE item = ? GROUP BY rating", item)
            }
        del totals["rows"]
        return JSONResponse({"item": item, **totals, "stars": {str(star): stars.get(star, 0) for star in range(1, 6)}})

    def _totals(self, database: Database, where: str, *arguments: int) -> dict[str, Any]:
        """`count` and `average` as they are answered, and `rows`, the count itself."""
        query = f"SELECT COUNT(*) AS count, SUM(rating) AS total FROM reviews {where}"  # noqa: S608 - `where` is one of two
        found = database.first(query, *arguments)
        count: int = found["count"] if found else 0
        average = round(found["total"] / count, 1 if Fault.ROUNDED_AVERAGE in self._faults else 3) if found and count else None
        return {"count": str(count) if Fault.NUMBER_AS_STRING in self._faults else count, "average": average, "rows": count}

    def _in_list(self, row: sqlite3.Row) -> dict[str, Any]:
        review = _as_json(row)
        if Fault.NULL_LEFT_OUT in self._faults and review["reply"] is None:
            del review["reply"]
        if Fault.TIME_ZONE_FORMAT in self._faults:
            review["created_at"] = review["created_at"].replace("Z", "+00:00")
        return review


def _require_item(database: Database, item: int) -> None:
    if database.first("SELECT 1 FROM items WHERE id = ?", item) is None:
        raise not_found("Item")


def _as_json(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "item": row["item"],
        "user": {"id": row["user"], "name": row["user_name"]},
        "rating": row["rating"],
        "title": row["title"],
        "body": row["body"],
        "reply": row["reply"],
        "helpful": row["helpful"],
        "created_at": f"{row['created_at'][:19]}Z",
    }


def build(pool: Pool, faults: frozenset[Fault]) -> Starlette:
    """The ASGI application."""
    reviews = Reviews(pool, faults)
    endpoints = {
        "/api/v1/reviews/": reviews.listing,
        "/api/v1/reviews/summary/{item}": reviews.summary,
        "/api/v1/reviews/{review}": reviews.review,
    }
    return application(pool, endpoints, faults)


SERVICE = Service("reviews", TABLES, build)
