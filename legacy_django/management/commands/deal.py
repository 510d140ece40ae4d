"""`manage.py deal 1 2`: a time deal, for the drills."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from legacy_django.accounts.models import Token, digest
from legacy_django.accounts.seeded import token
from legacy_django.items.models import Item, Option
from legacy_django.orders.models import Claim, Deal

BUYER = "buyer{:05}"
"""Of a number from 1. Their tokens are made like those of the seeded users."""


class Command(BaseCommand):
    help = (
        "Puts items on deal with fresh stock, and makes buyers. Prints {item id: [option ids]} as JSON. Claims of an earlier deal are gone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("items", type=int, nargs="+")
        parser.add_argument("--stock", type=int, default=1000, help="pieces of each option")
        parser.add_argument("--scarce", type=int, help="pieces of the last option of each item; by default as many as of the others")
        parser.add_argument("--one-per-user", action="store_true")
        parser.add_argument("--buyers", type=int, default=0, help="so many of them, buyer00001 …, are there in the end")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        items = Item.objects.filter(pk__in=options["items"]).order_by("pk")
        if len(items) != len(set(options["items"])):
            raise CommandError("there are no such items: `manage.py seed` makes 1 to 200")
        stock: int = options["stock"]
        scarce: int = stock if options["scarce"] is None else options["scarce"]
        if not (0 <= scarce <= stock and options["buyers"] >= 0):
            raise CommandError("--scarce: from 0 to --stock; --buyers: at least 0")
        told: dict[int, list[int]] = {}
        for item in items:
            told[item.pk] = list(Option.objects.filter(item=item).order_by("pk").values_list("pk", flat=True))
            Option.objects.filter(item=item).update(stock=stock)
            Option.objects.filter(pk=told[item.pk][-1]).update(stock=scarce)
            Item.objects.filter(pk=item.pk).update(stock=stock * (len(told[item.pk]) - 1) + scarce)
            deal, _ = Deal.objects.update_or_create(item=item, defaults={"one_per_user": options["one_per_user"]})
            Claim.objects.filter(deal=deal).delete()
        self._buyers(options["buyers"])
        self.stdout.write(json.dumps(told))

    def _buyers(self, count: int) -> None:
        names = [BUYER.format(number) for number in range(1, count + 1)]
        there = set(User.objects.filter(username__startswith="buyer").values_list("username", flat=True))
        new = [User(username=name, password=make_password(None)) for name in names if name not in there]
        made = User.objects.bulk_create(new, batch_size=500)
        Token.objects.bulk_create((Token(user=user, digest=digest(token(user.username))) for user in made), batch_size=500)
