"""What the reviews service was told, told to the shop: while some read here and others there, both know every review.

Where both have a review by one user of one item, the shop's stays, and the service is told to drop its own. What the shop takes over it
tells on, to those who follow the shop, with the origin that it came with: so the service knows its own word again.
"""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User

from events.envelope import Event
from events.inbox import Execute
from legacy_django.items.models import Item
from legacy_django.outbox import telling
from legacy_django.reviews.models import Review

WRITTEN = "reviews.review.written"


class UnfitError(ValueError):
    """The shop can't keep this review. It is parked, and somebody has to look at it."""


def take_back(execute: Execute, event: Event) -> None:
    """
    Raises:
        UnfitError: see there.
        KeyError, TypeError, ValueError: the event is not as it should be.
    """
    if event.type != WRITTEN:
        return
    told = event.data
    number, item, user = int(told["id"]), int(told["item"]), int(told["user"])
    there = Review.objects.filter(pk=number).first()
    if there is not None:
        if (there.item_id, there.user_id) != (item, user):
            raise UnfitError(f"the shop has another review with the number {number}")
        return
    if Review.objects.filter(item_id=item, user_id=user).exists():
        telling.review_deleted(number, item)
        return
    if not Item.objects.filter(pk=item).exists() or not User.objects.filter(pk=user).exists():
        raise UnfitError(f"the shop has no item {item}, or no user {user}")
    review = Review(
        pk=number,
        item_id=item,
        user_id=user,
        rating=int(told["rating"]),
        title=str(told["title"]),
        body=str(told["body"]),
        reply=told["reply"],
        helpful=int(told["helpful"]),
        created_at=datetime.fromisoformat(told["created_at"]),
    )
    review.save(force_insert=True)
    telling.review_written(review, origin=event.origin)
