"""/api/v1/product-view/{id}: one row, read and sent."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from services.command import Service
from services.database import Pool
from services.faults import Fault
from services.following import Following
from services.product_view.documents import apply, rebuild
from services.product_view.tables import TABLES
from services.serving import application, identifier, not_found
from services.stamp import Verifier

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
        if found is None:
            raise not_found("Item")
        tag = f'"{found["tag"]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if matches(request.headers.getlist("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        return Response(found["body"], media_type="application/json", headers=headers)


def matches(fields: list[str], tag: str) -> bool:
    """Whether If-None-Match names `tag`, by the weak comparison."""
    named = [part.strip() for field in fields for part in field.split(",")]
    return "*" in named or tag in {part.removeprefix("W/") for part in named}


def build(pool: Pool, faults: frozenset[Fault], verifier: Verifier) -> Starlette:
    """The ASGI application."""
    return application(pool, {PATH: ProductView(pool).one}, faults, verifier, quick=frozenset({PATH}))


SERVICE = Service("product_view", TABLES, build, Following(apply, rebuild))
