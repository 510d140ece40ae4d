"""What every JSON view of the shop shares: methods, errors, parameters and pages.

An error is `{"error": <code>, "detail": <sentence>}` with its status; `api` turns a raised ApiError into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

MAX_ID = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, which PostgreSQL refuses, and halves of a character, which JSON can spell and UTF-8 can't."""

type View = Callable[..., HttpResponse]


class ApiError(Exception):
    """An answer other than the one asked for."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def response(self) -> JsonResponse:
        return JsonResponse({"error": self.code, "detail": self.detail}, status=self.status)


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"{what} not found.")


def api(*methods: str) -> Callable[[View], View]:
    """Marks a JSON view that answers `methods`; where GET is one, so is HEAD."""
    allowed = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    allow = ", ".join(sorted(allowed))

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "OPTIONS":
                return HttpResponse(status=204, headers={"Allow": allow})
            if request.method not in allowed:
                response = ApiError(405, "method_not_allowed", f"{request.method} is not allowed here.").response()
                response["Allow"] = allow
                return response
            try:
                return view(request, *args, **kwargs)
            except ApiError as error:
                return error.response()

        return answer

    return decorate


def signed_in(request: HttpRequest) -> User:
    """The caller's account."""
    if not isinstance(request.user, User):
        raise ApiError(401, "not_signed_in", "Sign in first.")
    return request.user


def whole_number(text: str) -> int | None:
    """A positive whole number that fits every database's integer column; None for everything else."""
    if not _DIGITS.fullmatch(text):
        return None
    value = int(text)
    return value if 1 <= value <= MAX_ID else None


def identifier(text: str, what: str) -> int:
    """A path's id. What can't be one is not found, like one that isn't there."""
    value = whole_number(text)
    if value is None:
        raise not_found(what)
    return value


def parameter(request: HttpRequest, name: str) -> int | None:
    """A whole number in the query string; None where it isn't given."""
    text = request.GET.get(name)
    if text is None:
        return None
    value = whole_number(text)
    if value is None:
        raise ApiError(400, "bad_parameter", f"{name}: expected a whole number from 1 to {MAX_ID}.")
    return value


def text_parameter(request: HttpRequest, name: str) -> str:
    """A text in the query string; '' where it isn't given."""
    text = request.GET.get(name, "")
    if _UNSTORABLE.search(text):
        raise ApiError(400, "bad_parameter", f"{name}: not a text.")
    return text


def required_parameter(request: HttpRequest, name: str) -> int:
    value = parameter(request, name)
    if value is None:
        raise ApiError(400, "missing_parameter", f"{name}: required.")
    return value


def page_of[T: Model](rows: QuerySet[T], number: int, size: int, count: int) -> tuple[list[T], int | None]:
    """(the page's rows, the next page's number). The first page exists even when it is empty."""
    start = (number - 1) * size
    if start and start >= count:
        raise not_found("Page")
    return list(rows[start : start + size]), number + 1 if start + size < count else None


def body(request: HttpRequest) -> dict[str, Any]:
    """The fields of a JSON object, or of a form."""
    try:
        if request.content_type != "application/json":
            return dict(request.POST.items())
        document = json.loads(request.body)
    except RequestDataTooBig as error:
        raise ApiError(413, "too_large", "The body is too large.") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "bad_json", "The body is not JSON.") from error
    if not isinstance(document, dict):
        raise ApiError(400, "bad_json", "The body is not a JSON object.")
    return document


def field_number(fields: dict[str, Any], name: str, low: int = 1, high: int = MAX_ID) -> int:
    """A whole number of a body, as a number or, in a form, as digits."""
    value = fields.get(name)
    if isinstance(value, str):
        value = whole_number(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ApiError(400, "bad_field", f"{name}: expected a whole number from {low} to {high}.")
    return value


def field_text(fields: dict[str, Any], name: str, longest: int) -> str:
    """A text of a body, without the space around it."""
    value = fields.get(name)
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > longest or _UNSTORABLE.search(text):
        raise ApiError(400, "bad_field", f"{name}: expected a text of 1 to {longest} characters.")
    return text


def instant(moment: datetime) -> str:
    """2026-01-31T09:05:00Z"""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
