"""The shop's events. Each carries the whole state of what changed: whoever has the last one needs none before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from events.envelope import moment
from legacy_django.discounts.models import Discount
from legacy_django.items.models import Item, Option
from legacy_django.orders.models import Line, Order
from legacy_django.outbox.emitting import SOURCE, emit, emit_all
from legacy_django.reviews.models import Changed, Review

REVIEW_WRITTEN = "shop.review.written"
REVIEW_DELETED = "shop.review.deleted"
ITEM_CHANGED = "shop.item.changed"
OPTION_CHANGED = "shop.option.changed"
ORDER_PLACED = "shop.order.placed"


def review_written(review: Review, *, origin: str = SOURCE) -> None:
    """It is new, or another one now."""
    _reviews_changed(review.item_id)
    emit(
        REVIEW_WRITTEN,
        f"review-{review.pk}",
        {
            "id": review.pk,
            "item": review.item_id,
            "user": review.user_id,
            "user_name": review.user.username,
            "rating": review.rating,
            "title": review.title,
            "body": review.body,
            "reply": review.reply,
            "helpful": review.helpful,
            "created_at": moment(review.created_at),
        },
        origin=origin,
    )


def review_deleted(number: int, item: int, *, origin: str = SOURCE) -> None:
    """`number`: the review's, which is not there any more, nor its `item` perhaps."""
    _reviews_changed(item)
    emit(REVIEW_DELETED, f"review-{number}", {"id": number, "item": item}, origin=origin)


def _reviews_changed(item: int) -> None:
    row = Changed(item_id=item, at=timezone.now())
    Changed.objects.bulk_create([row], update_conflicts=True, update_fields=["at"], unique_fields=["item_id"])


def item_changed(item: Item) -> None:
    """Its words, its price or its discount. Lock the item's row before any of them is changed."""
    discount = Discount.objects.filter(item=item).first()
    emit(
        ITEM_CHANGED,
        f"item-{item.pk}",
        {
            "id": item.pk,
            "name": item.name,
            "category": item.category,
            "description": item.description,
            "price": str(item.price),
            "discount": discount.percent if discount is not None else 0,
        },
    )


def options_changed(options: Iterable[int]) -> None:
    """Their stock, name or surcharge: reads what this transaction has made of them. It has written every one, and so holds its row."""
    emit_all(_option(option) for option in Option.objects.filter(pk__in=list(options)).order_by("pk"))


def _option(option: Option) -> tuple[str, str, dict[str, Any]]:
    data = {"id": option.pk, "item": option.item_id, "name": option.name, "surcharge": str(option.surcharge), "stock": option.stock}
    return OPTION_CHANGED, f"option-{option.pk}", data


def order_placed(order: Order) -> None:
    """With the stock that it took. Call it as soon as lines and options are written: it needs no lock that is taken later."""
    lines = list(Line.objects.filter(order=order).order_by("pk"))
    options_changed(line.option_id for line in lines)
    emit(
        ORDER_PLACED,
        f"order-{order.pk}",
        {
            "id": order.pk,
            "user": order.user_id,
            "status": order.status,
            "total": str(order.total),
            "created_at": moment(order.created_at),
            "lines": [{"option": line.option_id, "quantity": line.quantity, "unit_price": str(line.unit_price)} for line in lines],
        },
    )
