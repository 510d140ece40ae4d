"""`manage.py churn --events 1000 --rate 100`: a shop in which things happen, for drills: orders, prices, stock, discounts, reviews."""

from __future__ import annotations

import random
import time
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from legacy_django.items import changing as items
from legacy_django.items.models import Item, Option
from legacy_django.orders.placing import BusyError, OutOfStockError, place
from legacy_django.reviews import changing as reviews
from legacy_django.reviews.models import Review

LINES = 4
"""Options in an order; each has an event, and the order one more."""
REFILL = 5000


class Command(BaseCommand):
    help = "Changes the shop at a steady rate, by the shop's own functions, until so many events are committed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--events", type=int, required=True)
        parser.add_argument("--rate", type=float, required=True, help="events a second")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--keep-prices", action="store_true", help="change discounts instead")

    def handle(self, *args: Any, **options: Any) -> None:
        churn = Churn(random.Random(options["seed"]), keep_prices=options["keep_prices"])  # noqa: S311 - the same changes every time
        began = time.monotonic()
        done = 0
        while done < options["events"]:
            early = began + done / options["rate"] - time.monotonic()
            if early > 0:
                time.sleep(early)
            done += churn.one()
        self.stdout.write(f"{done} events in {time.monotonic() - began:.1f} s")


class Churn:
    """What happens, by chance."""

    def __init__(self, chance: random.Random, *, keep_prices: bool = False) -> None:
        self._chance = chance
        self._keep_prices = keep_prices
        self._items = list(Item.objects.order_by("pk").values_list("pk", flat=True))
        self._options = list(Option.objects.order_by("pk").values_list("pk", flat=True))
        self._reviews = list(Review.objects.order_by("pk").values_list("pk", flat=True))
        self._users = list(User.objects.order_by("pk"))

    def one(self) -> int:
        """One transaction; returns how many events it has committed."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.4:
            wanted = dict.fromkeys(chance.sample(self._options, LINES), 1)
            try:
                place(chance.choice(self._users), wanted)
            except OutOfStockError:
                for option in wanted:
                    items.set_stock(option, REFILL)
                return LINES
            except BusyError:
                return 0  # others were before it each time: nothing happened
            return LINES + 1
        if kind < 0.6:
            items.set_stock(chance.choice(self._options), REFILL)
        elif kind < 0.75 and not self._keep_prices:
            items.set_price(chance.choice(self._items), Decimal(chance.randrange(500, 25000)) / 100)
        elif kind < 0.8:
            items.set_discount(chance.choice(self._items), chance.choice([0, 10, 25, 50]))
        else:
            reviews.rate(chance.choice(self._reviews), chance.randrange(1, 6))
        return 1
