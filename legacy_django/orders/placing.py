"""Taking stock and writing an order.

Stock is taken by one conditional UPDATE for each option, in the order of their ids: it can't go below zero however many buy at once, and
two orders that want the same options can't wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from legacy_django.items.models import Option
from legacy_django.orders.models import Line, Order
from legacy_django.outbox import telling


class OutOfStockError(Exception):
    """Not enough of an option is left; nothing was taken."""

    def __init__(self, option: Option) -> None:
        super().__init__(f"Not enough left of {option.item.name}, {option.name}.")


class UnknownOptionError(Exception):
    """There is no such option; nothing was taken."""


@transaction.atomic
def place(user: User, wanted: Mapping[int, int]) -> Order:
    """Writes an order for {option id: quantity}.

    Raises:
        OutOfStockError, UnknownOptionError: nothing happened.
    """
    options = Option.objects.select_related("item").in_bulk(wanted)
    total = Decimal(0)
    lines = []
    for option_id, quantity in sorted(wanted.items()):
        option = options.get(option_id)
        if option is None:
            raise UnknownOptionError(f"There is no option {option_id}.")
        if not Option.objects.filter(pk=option_id, stock__gte=quantity).update(stock=F("stock") - quantity):
            raise OutOfStockError(option)
        price = option.item.price + option.surcharge
        total += price * quantity
        lines.append(Line(option=option, quantity=quantity, unit_price=price))
    order = Order.objects.create(user=user, total=total)
    for line in lines:
        line.order = order
    Line.objects.bulk_create(lines)
    telling.order_placed(order)
    return order
