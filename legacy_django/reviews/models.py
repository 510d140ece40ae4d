"""One review for each user and item."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from legacy_django.items.models import Item


class Review(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name="reviews")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="reviews")
    rating = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(5)])
    title = models.CharField(max_length=120)
    body = models.TextField()
    reply = models.TextField(null=True, blank=True)
    """The shop's own answer. NULL: there is none."""
    helpful = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "user"], name="one_review_each")]
        indexes = [models.Index(fields=["item", "-created_at", "-id"], name="reviews_of_an_item")]

    def __str__(self) -> str:
        return self.title


class Changed(models.Model):
    """When something of an item's reviews was changed last: a review that was deleted leaves no other trace. Not in the item's own row,
    which orders lock in an order of theirs."""

    item_id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"reviews of item {self.item_id}, {self.at}"
