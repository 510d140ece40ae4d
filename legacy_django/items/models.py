"""Items come in options (a size, a colour). Stock is counted for each option, and once more for the item as a whole: who asks whether there
is anything left needs no sum. Invariant: an item's stock is the sum of its options'."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Item(models.Model):
    name = models.CharField(max_length=120)
    category = models.CharField(max_length=40, db_index=True)
    description = models.TextField()
    price = models.DecimalField(max_digits=9, decimal_places=2)
    stock = models.PositiveIntegerField(default=0, help_text="of all options together")
    changed_at = models.DateTimeField(default=timezone.now, help_text="its words, its price or its discount")
    stock_changed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Option(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name="options")
    name = models.CharField(max_length=60)
    surcharge = models.DecimalField(max_digits=9, decimal_places=2, default=0)
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "name"], name="one_option_of_a_name")]

    def __str__(self) -> str:
        return self.name


class Picture(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name="pictures")
    file = models.ImageField(upload_to="items/", width_field="width", height_field="height")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()

    def __str__(self) -> str:
        return str(self.file)
