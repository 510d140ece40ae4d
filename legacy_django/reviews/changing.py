"""Reviews that change after they were written, each change with its event."""

from __future__ import annotations

from django.db import transaction

from legacy_django.outbox import telling
from legacy_django.reviews.models import Review


@transaction.atomic
def rate(number: int, rating: int) -> None:
    """Its user thinks otherwise now.

    Raises:
        Review.DoesNotExist: nothing happened.
    """
    review = Review.objects.select_for_update(of=("self",)).select_related("user").get(pk=number)
    review.rating = rating
    review.save(update_fields=["rating"])
    telling.review_written(review)
