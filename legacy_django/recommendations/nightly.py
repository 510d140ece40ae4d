"""Computes all recommendations anew: the nightly job of the shop.

Two items are as similar as the number of users who gave both at least four stars. A user is suggested what is similar to what they ordered,
and has not ordered yet.
"""

from __future__ import annotations

from collections import defaultdict

from django.db import transaction

from legacy_django.items.models import Item
from legacy_django.orders.models import Line
from legacy_django.recommendations.models import Similarity, Suggestion
from legacy_django.reviews.models import Review

KEPT = 20
"""Of each item, and of each user."""
BATCH = 500


@transaction.atomic
def recompute() -> None:
    similar = _similar()
    suggested = _suggested(similar)
    Similarity.objects.all().delete()
    Suggestion.objects.all().delete()
    Similarity.objects.bulk_create(
        (Similarity(item_id=item, other_id=other, score=score) for item, best in similar.items() for other, score in best.items()),
        batch_size=BATCH,
    )
    Suggestion.objects.bulk_create(
        (Suggestion(user_id=user, item_id=item, score=score) for user, best in suggested.items() for item, score in best.items()),
        batch_size=BATCH,
    )


def _similar() -> dict[int, dict[int, int]]:
    """{item: {other: score}}"""
    likes: defaultdict[int, int] = defaultdict(int)  # by item, a bit for each user
    for item, user in Review.objects.filter(rating__gte=4).values_list("item_id", "user_id"):
        likes[item] |= 1 << user
    items = list(Item.objects.order_by("id").values_list("id", flat=True))
    return {item: _best({other: (likes[item] & likes[other]).bit_count() for other in items if other != item}) for item in items}


def _suggested(similar: dict[int, dict[int, int]]) -> dict[int, dict[int, int]]:
    """{user: {item: score}}"""
    ordered: defaultdict[int, set[int]] = defaultdict(set)
    for user, item in Line.objects.values_list("order__user_id", "option__item_id"):
        ordered[user].add(item)
    suggested = {}
    for user, items in sorted(ordered.items()):
        scores: defaultdict[int, int] = defaultdict(int)
        for item in items:
            for other, score in similar[item].items():
                if other not in items:
                    scores[other] += score
        suggested[user] = _best(scores)
    return suggested


def _best(scores: dict[int, int]) -> dict[int, int]:
    ranked = sorted((-score, item) for item, score in scores.items() if score)
    return {item: -score for score, item in ranked[:KEPT]}
