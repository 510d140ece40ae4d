"""Similar items, computed by a nightly job as shops do (here: by `manage.py seed`), and read by the views."""

from __future__ import annotations

from django.db import models

from legacy_django.items.models import Item


class Similarity(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name="similarities")
    other = models.ForeignKey(Item, models.CASCADE, related_name="+")
    score = models.PositiveIntegerField()
    """How many customers like both. Equal scores are common."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "other"], name="one_similarity_each")]

    def __str__(self) -> str:
        return f"{self.item_id} ~ {self.other_id}: {self.score}"
