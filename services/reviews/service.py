"""/api/v1/reviews/…, answering as the shop does, but for the faults that are switched on.

A review that is written here is told to the shop where that was asked for (`import --outbox`), and comes back with the next import. Else it
stays here until then, for an import makes the database equal to the shop's.
"""

from __future__ import annotations

import secrets
import sqlite3
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services import telling, writing
from services.command import Service
from services.database import Database, Pool
from services.faults import Fault
from services.following import Following
from services.reviews.following import apply
from services.reviews.tables import TABLES
from services.serving import MAX_ID, ProblemError, application, identifier, not_found, parameter, stamped, whole_number
from services.stamp import Stamped, Verifier

PAGE = 10
APART = 2**30
"""The shop's own numbers stay below."""


class Reviews:
    """The endpoints."""

    def __init__(self, pool: Pool, faults: frozenset[Fault], verifier: Verifier) -> None:
        self._pool = pool
        self._faults = faults
        self._verifier = verifier

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

    async def create(self, request: Request) -> Response:
        """The caller's own review of an item. Who he is stands in his stamp: the shop is not asked."""
        caller = await run_in_threadpool(stamped, request, self._verifier, login=True)
        writing.meant(request)
        return await run_in_threadpool(self._create, caller, await writing.fields(request), keep=not writing.shadow(request))

    def _create(self, caller: Stamped, values: dict[str, Any], *, keep: bool) -> Response:
        user = whole_number(caller.user or "")
        if user is None:
            raise ProblemError(403, "not_a_user", "Users have numbers here.")
        item, rating = writing.number(values, "item"), writing.number(values, "rating", 1, 5)
        title, body = writing.text(values, "title", 120), writing.text(values, "body", 4000)
        with self._pool.writing(keep=keep) as database:
            _require_item(database, item)
            if database.first("SELECT 1 FROM reviews WHERE item = ? AND user = ?", item, user) is not None:
                raise ProblemError(409, "already_reviewed", "You have reviewed this item.")
            name = caller.claims.get("username") or _name(database, user)
            tells = telling.tells(database)
            number = _number(database, apart=tells)
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
            database.all(
                "INSERT INTO reviews VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0, ?)", number, item, user, name, rating, title, body, moment
            )
            found = database.first("SELECT * FROM reviews WHERE id = ?", number)
            if tells and found is not None:
                telling.emit(database, "reviews", "review.written", f"review-{number}", {**dict(found), "created_at": f"{moment}Z"})
        assert found is not None  # noqa: S101 - it was just written
        return JSONResponse(_as_json(found), 201, {"Location": f"/api/v1/reviews/{number}"})

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


def _number(database: Database, *, apart: bool) -> int:
    """Of a new review. `apart`: the shop gives numbers at the same time, from below; here they are drawn from where it will not be."""
    if not apart:
        last = database.first("SELECT MAX(id) AS id FROM reviews")
        return (last["id"] or 0) + 1 if last is not None else 1
    while True:
        number = APART + secrets.randbelow(MAX_ID - APART) + 1
        if database.first("SELECT 1 FROM reviews WHERE id = ?", number) is None:
            return number


def _require_item(database: Database, item: int) -> None:
    if database.first("SELECT 1 FROM items WHERE id = ?", item) is None:
        raise not_found("Item")


def _name(database: Database, user: int) -> str:
    """As it was when the shop's data was taken over, if the gateway does not say it ([identity] claims = ["username"])."""
    found = database.first("SELECT name FROM users WHERE id = ?", user)
    if found is None:
        raise ProblemError(403, "unknown_user", "Your account is not known here yet.")
    return str(found["name"])


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


def build(pool: Pool, faults: frozenset[Fault], verifier: Verifier) -> Starlette:
    """The ASGI application."""
    reviews = Reviews(pool, faults, verifier)
    endpoints = {
        "/api/v1/reviews/": reviews.listing,
        "/api/v1/reviews/summary/{item}": reviews.summary,
        "/api/v1/reviews/{review}": reviews.review,
    }
    return application(pool, endpoints, faults, verifier, {"/api/v1/reviews/": reviews.create})


SERVICE = Service("reviews", TABLES, build, Following(apply, writes=True))
