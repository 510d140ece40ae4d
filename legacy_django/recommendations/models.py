"""What is recommended is computed ahead (nightly.py), as shops do, and read by the views. Equal scores are common."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from legacy_django.items.models import Item


class Similarity(models.Model):
    """Two items that many customers like alike."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="similarities")
    other = models.ForeignKey(Item, models.CASCADE, related_name="+")
    score = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "other"], name="one_similarity_each")]

    def __str__(self) -> str:
        return f"{self.item_id} ~ {self.other_id}: {self.score}"


class Suggestion(models.Model):
    """An item for a user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="suggestions")
    item = models.ForeignKey(Item, models.CASCADE, related_name="+")
    score = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "item"], name="one_suggestion_each")]

    def __str__(self) -> str:
        return f"{self.item_id} for user {self.user_id}: {self.score}"
