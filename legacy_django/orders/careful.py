"""Placing an order so that no two can wait for each other, and none waits long.

Every order takes its locks along one line: claims by deal, options by id, items by id. Nobody waits for a row that comes before one
that he holds, so there is no circle to wait in. What everybody wants, the item's own row, is taken last and held until the commit, which
follows at once. Whatever can be read before the transaction is read before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from legacy_django.items.models import Item, Option
from legacy_django.orders.models import Claim, Line, Order
from legacy_django.orders.refusals import OnePerUserError, OutOfStockError, UnknownOptionError
from legacy_django.orders.retrying import again
from legacy_django.outbox import telling


def place(user: User, wanted: Mapping[int, int]) -> Order:
    """See placing.place. The prices are those of the moment before the transaction."""
    options = Option.objects.select_related("item__deal").in_bulk(wanted)
    for option_id in wanted:
        if option_id not in options:
            raise UnknownOptionError(option_id)
    lines = [(options[option_id], quantity) for option_id, quantity in sorted(wanted.items())]
    return again(lambda: _write(user, lines))


@transaction.atomic
def _write(user: User, lines: list[tuple[Option, int]]) -> Order:
    """`lines` by option id."""
    _claim(user, lines)
    items: dict[int, int] = {}
    for option, quantity in lines:
        if not Option.objects.filter(pk=option.pk, stock__gte=quantity).update(stock=F("stock") - quantity):
            raise OutOfStockError(option)
        items[option.item_id] = items.get(option.item_id, 0) + quantity
    prices = [option.item.price + option.surcharge for option, _ in lines]
    total = sum((price * quantity for price, (_, quantity) in zip(prices, lines, strict=True)), Decimal(0))
    order = Order.objects.create(user=user, total=total)
    Line.objects.bulk_create(
        Line(order=order, option=option, quantity=quantity, unit_price=price)
        for price, (option, quantity) in zip(prices, lines, strict=True)
    )
    telling.order_placed(order)
    for item_id, quantity in sorted(items.items()):
        if not _take(item_id, quantity):
            raise OutOfStockError(next(option for option, _ in lines if option.item_id == item_id))
    return order


def _take(item: int, quantity: int) -> bool:
    """Of what the item has of all its options. Whether there was so much."""
    found = Item.objects.filter(pk=item, stock__gte=quantity)
    return bool(found.update(stock=F("stock") - quantity, stock_changed_at=timezone.now()))


def _claim(user: User, lines: list[tuple[Option, int]]) -> None:
    """What is one per user is the user's from here on. A second claim waits for the first, and is refused when that is committed."""
    deals = {deal.pk: deal for option, _ in lines if (deal := getattr(option.item, "deal", None)) is not None and deal.one_per_user}
    if not deals:
        return
    try:
        Claim.objects.bulk_create(Claim(deal=deal, user=user) for _, deal in sorted(deals.items()))
    except IntegrityError as error:
        raise OnePerUserError(next(iter(deals.values())).item if len(deals) == 1 else None) from error
