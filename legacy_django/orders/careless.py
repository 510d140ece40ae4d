"""Placing an order as it was on the day of the time deal, for the drill that shows what came of it; docs/incidents/time-deal.md tells why.

It is what one writes who thinks of one customer: begin a transaction, go through the cart line by line, look the option up, check, take
its stock and its item's, write the line. Two carts that name the same options the other way round lock each other out; and the item's row,
which both want whatever they name, is held from the first line to the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from legacy_django.items.models import Item, Option
from legacy_django.orders.models import Line, Order
from legacy_django.orders.refusals import OnePerUserError, OutOfStockError, UnknownOptionError
from legacy_django.outbox import telling


@transaction.atomic
def place(user: User, wanted: Mapping[int, int]) -> Order:
    """See placing.place. What the database gives up for another order's sake fails."""
    order = Order.objects.create(user=user, total=Decimal(0))
    for option_id, quantity in wanted.items():
        option = Option.objects.select_related("item__deal").filter(pk=option_id).first()
        if option is None:
            raise UnknownOptionError(option_id)
        _check_limit(user, option, order)
        if not Option.objects.filter(pk=option.pk, stock__gte=quantity).update(stock=F("stock") - quantity):
            raise OutOfStockError(option)
        if not _take(option.item_id, quantity):
            raise OutOfStockError(option)
        price = option.item.price + option.surcharge
        Line.objects.create(order=order, option=option, quantity=quantity, unit_price=price)
        order.total += price * quantity
    order.save(update_fields=["total"])
    telling.order_placed(order)
    return order


def _take(item: int, quantity: int) -> bool:
    """Of what the item has of all its options. Whether there was so much."""
    found = Item.objects.filter(pk=item, stock__gte=quantity)
    return bool(found.update(stock=F("stock") - quantity, stock_changed_at=timezone.now()))


def _check_limit(user: User, option: Option, order: Order) -> None:
    """By looking: of two orders at the same moment neither sees the other."""
    deal = getattr(option.item, "deal", None)
    if deal is None or not deal.one_per_user:
        return
    if Line.objects.filter(order__user=user, option__item=option.item_id).exclude(order=order).exists():
        raise OnePerUserError(option.item)
