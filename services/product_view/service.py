"""/api/v1/product-view/{id}: one row, read and sent."""

from __future__ import annotations

import math
import time
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from events.envelope import PARTITIONS
from events.inbox import AS_OF
from services.command import Service
from services.database import Database, Pool
from services.faults import Fault
from services.following import Following
from services.product_view.documents import apply, rebuild
from services.product_view.tables import TABLES
from services.serving import application, identifier, not_found
from services.stamp import Verifier

NAME: Final = "product_view"
ON_ITS_WAY: Final = 2.0
"""Seconds in which what the shop has committed is in the stream: a few times what it takes. Who says that it is as of a moment says that it
has what was committed before; while a relay is away for longer that is not so, and what differs then is a fault."""
PATH: Final = "/api/v1/product-view/{item}"


class ProductView:
    """The endpoint."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def one(self, request: Request) -> Response:
        """The document as it stands, or 304 to who has it already (RFC 9110, 13.1.2)."""
        item = identifier(request, "item", "Item")
        with self._pool.reading() as database:
            found = database.first("SELECT body, tag FROM documents WHERE item = ?", item)
            age = _age(database)
        if found is None:
            raise not_found("Item")
        tag = f'"{found["tag"]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", **age}
        if matches(request.headers.getlist("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        return Response(found["body"], media_type="application/json", headers=headers)


def _age(database: Database) -> dict[str, str]:
    """How long ago everything that the shop had is in what is read here, in seconds (RFC 9111, 5.1). Not in the document: it grows while
    nothing changes."""
    found = database.first(AS_OF, NAME)
    if found is None or found[1] < PARTITIONS:
        return {}
    return {"Age": str(max(0, math.ceil(time.time() - found[0] / 1000 + ON_ITS_WAY)))}


def matches(fields: list[str], tag: str) -> bool:
    """Whether If-None-Match names `tag`, by the weak comparison."""
    named = [part.strip() for field in fields for part in field.split(",")]
    return "*" in named or tag in {part.removeprefix("W/") for part in named}


def build(pool: Pool, faults: frozenset[Fault], verifier: Verifier) -> Starlette:
    """The ASGI application."""
    return application(pool, {PATH: ProductView(pool).one}, faults, verifier, quick=frozenset({PATH}))


SERVICE = Service(NAME, TABLES, build, Following(apply, rebuild))
