"""/api/v1/product-view/{id}: everything that a product's page shows, gathered when it is asked for.

Some queries, and a sum over all reviews: what the product view service has ready in one row. `as_of` says of each part when it was changed
last, read behind the rest: what is shown is never newer than that.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse

from events.envelope import moment
from legacy_django.api import api, identifier, not_found
from legacy_django.discounts.models import Discount
from legacy_django.items.models import Item
from legacy_django.reviews.models import Changed, Review
from legacy_django.reviews.views import totals

PARTS = ("product", "price", "discount", "stock", "reviews")


@api("GET")
def product_view(request: HttpRequest, item_id: str) -> HttpResponse:
    item = Item.objects.prefetch_related("options").filter(pk=identifier(item_id, "Item")).first()
    if item is None:
        raise not_found("Item")
    discount = Discount.objects.filter(item=item).first()
    percent = discount.percent if discount is not None else 0
    options = sorted(item.options.all(), key=lambda option: option.pk)
    rows = Review.objects.filter(item=item)
    count, average = totals(rows)
    stars = dict(rows.order_by().values_list("rating").annotate(Count("id")))
    response = JsonResponse(
        {
            "id": item.pk,
            "name": item.name,
            "category": item.category,
            "description": item.description,
            "price": float(item.price),
            "discount": percent,
            "discounted_price": float((item.price * (100 - percent) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)),
            "options": [
                {"id": option.pk, "name": option.name, "surcharge": float(option.surcharge), "stock": option.stock} for option in options
            ],
            "stock": sum(option.stock for option in options),
            "reviews": {"count": count, "average": average, "stars": {str(star): stars.get(star, 0) for star in range(1, 6)}},
            "as_of": _changed(item.pk),
        },
        json_dumps_params={"ensure_ascii": False},
    )
    response["Cache-Control"] = "no-cache"
    return response


def _changed(item: int) -> dict[str, str]:
    """Part → when it was changed last. Words, price and discount have one moment: it is the last of theirs."""
    itself, stock = Item.objects.values_list("changed_at", "stock_changed_at").get(pk=item)
    reviews = Changed.objects.filter(pk=item).values_list("at", flat=True).first()
    latest = {"stock": stock, "reviews": reviews or itself}  # an item that is new, and has none
    return {part: moment(latest.get(part, itself)) for part in PARTS}
