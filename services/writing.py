"""What a write is asked for before it is one: that somebody who is logged in meant it, and what he sent."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request

from services.serving import MAX_ID, ProblemError, whole_number

MOST_BYTES: Final = 64 * 1024
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def meant(request: Request) -> None:
    """Refuses what a page of another site has made a browser send.

    A stamp says who calls, and where the credential is a cookie a browser sends that with whatever request any page makes it send. The
    monolith's CSRF token protects the monolith alone. So: JSON, which no form of another site can send without asking first (and nobody
    allows it here), and no foreign Origin (RFC 6454, 7.3).

    Raises:
        ProblemError: 415, 403.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "not_json", "Send application/json.")
    origin = request.headers.get("origin")
    host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise ProblemError(403, "foreign_origin", "The request comes from another site's page.")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ProblemError(403, "foreign_origin", "The request comes from another site's page.")


def shadow(request: Request) -> bool:
    """Whether this is another's write, sent here as well to compare the answers: it is answered as if, and nothing is kept of it.

    Only the gateway can say so: it cuts the field from whatever a client sends.
    """
    return bool(request.headers.getlist("banyan-shadow"))


async def fields(request: Request) -> dict[str, Any]:
    """The fields of a JSON object.

    Raises:
        ProblemError: 413, 400.
    """
    return parsed(await whole(request))


async def whole(request: Request) -> bytes:
    """The body.

    Raises:
        ProblemError: 413.
    """
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise ProblemError(413, "too_large", "The body is too large.")
    return bytes(data)


def parsed(data: bytes) -> dict[str, Any]:
    """The fields of the JSON object that `data` is.

    Raises:
        ProblemError: 400.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ProblemError(400, "bad_json", "The body is not JSON.") from None
    if not isinstance(document, dict):
        raise ProblemError(400, "bad_json", "The body is not a JSON object.")
    return document


def number(values: dict[str, Any], name: str, low: int = 1, high: int = MAX_ID) -> int:
    """A whole number of a body, as a number or as digits."""
    value = values.get(name)
    if isinstance(value, str):
        value = whole_number(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProblemError(400, "bad_field", f"{name}: expected a whole number from {low} to {high}.")
    return value


def text(values: dict[str, Any], name: str, longest: int) -> str:
    """A text of a body, without the space around it."""
    value = values.get(name)
    found = value.strip() if isinstance(value, str) else ""
    if not found or len(found) > longest or _UNSTORABLE.search(found):
        raise ProblemError(400, "bad_field", f"{name}: expected a text of 1 to {longest} characters.")
    return found
