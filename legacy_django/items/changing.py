"""Prices, stock and discounts, as the shop's back office changes them: each with its event, in one short transaction.
It locks what it changes in the order in which an order does: options, then their items."""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from legacy_django.discounts.models import Discount
from legacy_django.items.models import Item, Option
from legacy_django.outbox import telling


@transaction.atomic
def set_price(number: int, price: Decimal) -> None:
    """
    Raises:
        Item.DoesNotExist: nothing happened.
    """
    item = Item.objects.select_for_update().get(pk=number)
    item.price, item.changed_at = price, timezone.now()
    item.save(update_fields=["price", "changed_at"])
    telling.item_changed(item)


@transaction.atomic
def set_discount(number: int, percent: int) -> None:
    """0: none any more.

    Raises:
        Item.DoesNotExist, ValueError: nothing happened.
    """
    if not 0 <= percent <= 90:
        raise ValueError("a discount is from 0 to 90 percent")
    item = Item.objects.select_for_update().get(pk=number)
    if percent:
        Discount.objects.update_or_create(item=item, defaults={"percent": percent})
    else:
        Discount.objects.filter(item=item).delete()
    item.changed_at = timezone.now()
    item.save(update_fields=["changed_at"])
    telling.item_changed(item)


@transaction.atomic
def set_stock(number: int, stock: int) -> None:
    """Of one option; its item has as many more, or fewer.

    Raises:
        Option.DoesNotExist: nothing happened.
    """
    option = Option.objects.select_for_update().get(pk=number)
    more = stock - option.stock
    option.stock = stock
    option.save(update_fields=["stock"])
    telling.options_changed([number])
    Item.objects.filter(pk=option.item_id).update(stock=F("stock") + more, stock_changed_at=timezone.now())
