"""`manage.py orders 1000`: orders that wait to be paid, for the drills."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from legacy_django.items.models import Option
from legacy_django.orders.models import Line, Order


class Command(BaseCommand):
    help = "Places so many orders, of one item each, by all users in turn; prints the ids of the first and the last. No stock is taken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("count", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        users = list(User.objects.order_by("id"))
        choices = list(Option.objects.select_related("item").order_by("id")[:100])
        count: int = options["count"]
        if not users or not choices or count < 1:
            raise CommandError("an empty shop has nobody to order anything: `manage.py seed` first; and at least one order")
        with transaction.atomic():
            wanted = [(users[number % len(users)], choices[number % len(choices)]) for number in range(count)]
            prices = [option.item.price + option.surcharge for _, option in wanted]
            orders = [Order(user=user, total=price) for (user, _), price in zip(wanted, prices, strict=True)]
            made = Order.objects.bulk_create(orders)
            Line.objects.bulk_create(
                Line(order=order, option=option, quantity=1, unit_price=price)
                for order, (_, option), price in zip(made, wanted, prices, strict=True)
            )
        self.stdout.write(f"{made[0].pk} {made[-1].pk}")
