"""A discount on an item and all of its options."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from legacy_django.items.models import Item


class Discount(models.Model):
    item = models.OneToOneField(Item, models.CASCADE, related_name="discount", primary_key=True)
    percent = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(90)])

    def __str__(self) -> str:
        return f"{self.percent} % off item {self.item_id}"
