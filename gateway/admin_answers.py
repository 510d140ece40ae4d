"""What the admin port answers with: JSON that nobody keeps."""

from __future__ import annotations

import orjson
from starlette.responses import Response


def answer(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json", headers={"Cache-Control": "no-store"})


def problem(status: int, code: str, title: str, detail: str) -> Response:
    """RFC 9457."""
    document = {"type": f"urn:banyan:problem:{code}", "title": title, "status": status, "detail": detail}
    return Response(orjson.dumps(document), status, media_type="application/problem+json", headers={"Cache-Control": "no-store"})
