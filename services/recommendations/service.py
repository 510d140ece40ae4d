"""/api/v1/recommendations/…, answering as the shop does, but for the faults that are switched on."""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.command import Service
from services.database import Pool
from services.faults import Fault
from services.recommendations.tables import TABLES
from services.serving import ProblemError, application, identifier, not_found, parameter
from services.stamp import Verifier

_FOR_ITEM = """
    SELECT items.id, items.name, items.price, similarities.score
    FROM similarities JOIN items ON items.id = similarities.other
    WHERE similarities.item = ? ORDER BY similarities.score DESC, items.id LIMIT 10
"""
_FOR_USER = """
    SELECT items.id, items.name, items.price, suggestions.score
    FROM suggestions JOIN items ON items.id = suggestions.item
    WHERE suggestions.user = ? ORDER BY suggestions.score DESC, items.id LIMIT 10
"""


class Recommendations:
    """The endpoints."""

    def __init__(self, pool: Pool, faults: frozenset[Fault]) -> None:
        self._pool = pool
        self._faults = faults

    def for_item(self, request: Request) -> Response:
        """?item=: what goes with it."""
        item = parameter(request, "item")
        if item is None:
            raise ProblemError(400, "missing_parameter", "item: required.")
        return self._answer("item", item, "SELECT 1 FROM items WHERE id = ?", _FOR_ITEM)

    def for_user(self, request: Request) -> Response:
        """What goes with everything that a user ordered."""
        return self._answer("user", identifier(request, "user", "User"), "SELECT 1 FROM users WHERE id = ?", _FOR_USER)

    def _answer(self, what: str, number: int, exists: str, query: str) -> Response:
        with self._pool.reading() as database:
            known = Fault.EMPTY_INSTEAD_OF_404 in self._faults or database.first(exists, number) is not None
            rows = database.all(query, number) if known else []
        if not known:
            raise not_found(what.capitalize())
        if Fault.OTHER_ORDER in self._faults:
            # After the cut at ten, so that the same items come in another order.
            rows.sort(key=lambda row: (row["score"], row["id"]), reverse=True)
        return JSONResponse({what: number, "results": [_as_json(row) for row in rows]})


def _as_json(row: sqlite3.Row) -> dict[str, Any]:
    return {"id": row["id"], "name": row["name"], "price": row["price"], "score": row["score"]}


def build(pool: Pool, faults: frozenset[Fault], verifier: Verifier) -> Starlette:
    """The ASGI application."""
    recommendations = Recommendations(pool, faults)
    endpoints = {
        "/api/v1/recommendations/": recommendations.for_item,
        "/api/v1/recommendations/{user}": recommendations.for_user,
    }
    return application(pool, endpoints, faults, verifier)


SERVICE = Service("recommendations", TABLES, build)
