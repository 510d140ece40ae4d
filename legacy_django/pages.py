"""The shop's HTML pages, the streamed export and the health check."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET, require_safe

from legacy_django.api import ApiError, instant
from legacy_django.items.models import Item
from legacy_django.reviews.models import Review
from legacy_django.reviews.views import totals


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    page = Paginator(Item.objects.order_by("id"), 24).get_page(request.GET.get("page"))
    return render(request, "home.html", {"page": page})


@require_safe
def product(request: HttpRequest, item_id: int) -> HttpResponse:
    item = get_object_or_404(Item.objects.prefetch_related("options", "pictures"), pk=item_id)
    count, average = totals(item.reviews.all())
    newest = item.reviews.select_related("user").order_by("-created_at", "-id")[:10]
    return render(request, "product.html", {"item": item, "count": count, "average": average, "reviews": newest})


@login_required
@require_GET
def export_reviews(request: HttpRequest) -> StreamingHttpResponse:
    """All reviews as CSV, for staff: one row at a time, so that neither the shop nor a proxy has to hold the whole."""
    if not request.user.is_staff:
        raise PermissionDenied
    response = StreamingHttpResponse(_rows(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="reviews.csv"'
    return response


class _Line:
    """The csv module writes to a file; this one hands each line back."""

    def write(self, text: str) -> str:
        return text


def _rows() -> Iterator[str]:
    writer: Any = csv.writer(_Line())  # typed as returning a count, as a real file's write does
    yield writer.writerow(["id", "item", "user", "rating", "title", "helpful", "created_at"])
    for review in Review.objects.select_related("user").order_by("id").iterator(chunk_size=500):
        yield writer.writerow(
            [
                review.pk,
                review.item_id,
                _inert(review.user.username),
                review.rating,
                _inert(review.title),
                review.helpful,
                instant(review.created_at),
            ]
        )


def _inert(text: str) -> str:
    """Customers' text that a spreadsheet would run as a formula, made text again."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Fine when the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return JsonResponse({"status": "ok"})


def unknown_api(request: HttpRequest, rest: str) -> HttpResponse:
    """Under /api/ even what does not exist is JSON."""
    return ApiError(404, "not_found", "There is no such API.").response()
