"""/api/v1/reviews/…

The average is the exact quotient, rounded to three decimals in Python: AVG() itself is a double in one database and a decimal in another.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse

from legacy_django.api import ApiError, api, body, field_number, field_text, identifier, instant, not_found, page_of, parameter, signed_in
from legacy_django.items.models import Item
from legacy_django.outbox import telling
from legacy_django.reviews.models import Review

PAGE = 10


@api("GET", "POST")
def reviews(request: HttpRequest) -> HttpResponse:
    """GET ?item=&page=: newest first, of one item or of all. POST: the caller's own review of an item."""
    return create(request) if request.method == "POST" else listing(request)


def listing(request: HttpRequest) -> HttpResponse:
    item, page = parameter(request, "item"), parameter(request, "page") or 1
    rows = Review.objects.all()
    if item is not None:
        require_item(item)
        rows = rows.filter(item_id=item)
    count, average = totals(rows)
    found, following = page_of(rows.select_related("user").order_by("-created_at", "-id"), page, PAGE, count)
    return JsonResponse(
        {"count": count, "average": average, "page": page, "next": following, "results": [as_json(review) for review in found]}
    )


def create(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    fields = body(request)
    item = field_number(fields, "item")
    review = Review(
        item_id=item,
        user=user,
        rating=field_number(fields, "rating", 1, 5),
        title=field_text(fields, "title", 120),
        body=field_text(fields, "body", 4000),
    )
    require_item(item)
    try:
        with transaction.atomic():
            review.save(force_insert=True)
            telling.review_written(review)
    except IntegrityError as error:
        raise ApiError(409, "already_reviewed", "You have reviewed this item.") from error
    response = JsonResponse(as_json(review), status=201)
    response["Location"] = f"/api/v1/reviews/{review.pk}"
    return response


@api("GET")
def review(request: HttpRequest, review_id: str) -> HttpResponse:
    found = Review.objects.select_related("user").filter(pk=identifier(review_id, "Review")).first()
    if found is None:
        raise not_found("Review")
    return JsonResponse(as_json(found))


@api("GET")
def summary(request: HttpRequest, item_id: str) -> HttpResponse:
    """How an item is rated: what a product page shows beside the price."""
    item = identifier(item_id, "Item")
    require_item(item)
    rows = Review.objects.filter(item_id=item)
    count, average = totals(rows)
    stars = dict(rows.order_by().values_list("rating").annotate(Count("id")))
    return JsonResponse(
        {"item": item, "count": count, "average": average, "stars": {str(star): stars.get(star, 0) for star in range(1, 6)}}
    )


def require_item(item: int) -> None:
    if not Item.objects.filter(pk=item).exists():
        raise not_found("Item")


def totals(rows: QuerySet[Review]) -> tuple[int, float | None]:
    """(how many, their average rating)"""
    found = rows.aggregate(count=Count("id"), total=Sum("rating"))
    count: int = found["count"]
    return count, round(found["total"] / count, 3) if count else None


def as_json(review: Review) -> dict[str, Any]:
    return {
        "id": review.pk,
        "item": review.item_id,
        "user": {"id": review.user_id, "name": review.user.username},
        "rating": review.rating,
        "title": review.title,
        "body": review.body,
        "reply": review.reply,
        "helpful": review.helpful,
        "created_at": instant(review.created_at),
    }
