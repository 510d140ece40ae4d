"""/api/v1/recommendations/…: best first, and among equal scores by the item's id, so that the answer is the same every time."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from legacy_django.api import api, identifier, not_found, required_parameter
from legacy_django.items.models import Item
from legacy_django.recommendations.models import Similarity, Suggestion

SIZE = 10


@api("GET")
def for_item(request: HttpRequest) -> HttpResponse:
    """?item=: what goes with it."""
    item = required_parameter(request, "item")
    if not Item.objects.filter(pk=item).exists():
        raise not_found("Item")
    rows = Similarity.objects.filter(item_id=item).select_related("other").order_by("-score", "other_id")[:SIZE]
    return JsonResponse({"item": item, "results": [as_json(row.other, row.score) for row in rows]})


@api("GET")
def for_user(request: HttpRequest, user_id: str) -> HttpResponse:
    """What goes with everything that a user ordered."""
    user = identifier(user_id, "User")
    if not User.objects.filter(pk=user, is_active=True).exists():
        raise not_found("User")
    rows = Suggestion.objects.filter(user_id=user).select_related("item").order_by("-score", "item_id")[:SIZE]
    return JsonResponse({"user": user, "results": [as_json(row.item, row.score) for row in rows]})


def as_json(item: Item, score: int) -> dict[str, Any]:
    return {"id": item.pk, "name": item.name, "price": float(item.price), "score": score}
