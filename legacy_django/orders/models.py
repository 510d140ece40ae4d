"""An order keeps the prices that were asked when it was placed."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from legacy_django.items.models import Item, Option


class Order(models.Model):
    class Status(models.TextChoices):
        PLACED = "placed"
        SHIPPED = "shipped"
        RETURNED = "returned"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="orders")
    status = models.CharField(max_length=10, choices=Status, default=Status.PLACED)
    total = models.DecimalField(max_digits=11, decimal_places=2)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Order {self.pk}"


class Line(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    option = models.ForeignKey(Option, models.PROTECT, related_name="+")
    quantity = models.PositiveSmallIntegerField()
    unit_price = models.DecimalField(max_digits=9, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.quantity} x {self.option_id}"


class Payment(models.Model):
    """One try to have an order paid. Written down before the provider is asked: a shop that dies meanwhile knows that it has asked."""

    class State(models.TextChoices):
        STARTED = "started"
        PAID = "paid"
        DECLINED = "declined"
        FAILED = "failed", "nobody was charged"
        UNKNOWN = "unknown", "nobody can say yet whether it was charged"

    order = models.ForeignKey(Order, models.PROTECT, related_name="payments")
    attempt = models.PositiveSmallIntegerField(help_text="from 1; another one only after a card was declined")
    key = models.CharField(max_length=64, unique=True, help_text="the Idempotency-Key: it stays until the outcome is known")
    state = models.CharField(max_length=10, choices=State, default=State.STARTED)
    amount = models.DecimalField(max_digits=11, decimal_places=2)
    currency = models.CharField(max_length=3, default="EUR")
    provider = models.CharField(max_length=40, blank=True)
    reference = models.CharField(max_length=64, blank=True, help_text="the provider's name for it")
    created_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "attempt"], name="one_payment_of_an_attempt")]

    def __str__(self) -> str:
        return self.key


class Deal(models.Model):
    """A time deal of an item. Its stock is the item's own; that it has begun or is over is for whoever shows it."""

    item = models.OneToOneField(Item, models.CASCADE, related_name="deal")
    one_per_user = models.BooleanField(default=False, help_text="each user may order the item once, in however many pieces")

    def __str__(self) -> str:
        return f"Deal of {self.item_id}"


class Claim(models.Model):
    """That a user has ordered what is one per user. The database refuses a second one, however many are tried at the same moment."""

    deal = models.ForeignKey(Deal, models.CASCADE, related_name="claims")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["deal", "user"], name="one_claim_each")]

    def __str__(self) -> str:
        return f"{self.user_id} has had {self.deal_id}"
