"""The shop's data, made from one number: every seeded shop is equal to every other, byte for byte, on either database.

So ids are given explicitly (and the databases' own counters moved behind them), moments are counted from a fixed day, and nothing reads a
clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connection, transaction

from legacy_django.accounts.models import Token, digest
from legacy_django.accounts.seeded import PASSWORD, USERS, token
from legacy_django.items.models import Item, Option
from legacy_django.orders.models import Line, Order
from legacy_django.recommendations.models import Similarity, Suggestion
from legacy_django.recommendations.nightly import recompute
from legacy_django.reviews.models import Changed, Review

ITEMS, REVIEWS = 200, 5000
UNREVIEWED = 2
"""The last items have no review at all: their average is null."""
BATCH = 500

START = datetime(2025, 1, 1, tzinfo=UTC)
_MINUTES = 365 * 24 * 60

_WOODS = ["Ash", "Beech", "Birch", "Cedar", "Cherry", "Elm", "Maple", "Oak", "Pine", "Walnut"]
_THINGS = {
    "kitchen": ["board", "bowl", "ladle", "tray", "mill"],
    "office": ["desk", "lamp", "shelf", "stand", "organiser"],
    "living": ["table", "stool", "frame", "clock", "vase"],
    "garden": ["bench", "planter", "trellis", "birdhouse", "crate"],
}
_SIZES = [("small", 0), ("medium", 5), ("large", 12)]
_TITLES = ["As described", "Better than the photo", "Solid", "Would buy again", "Not for me", "A gift", "Smells of wood", "Arrived late"]
_BODIES = [
    "It came well packed and looks as it does in the picture.",
    "The finish is uneven on one side; for the price that is fine.",
    "We use it every day. After a month it still looks new.",
    "Smaller than I thought. The measures are in the description, so that is on me.",
    "The colour is warmer than on my screen — lovely, though.",
    "One corner was chipped. A replacement came within the week.",
]
_REPLIES = ["Thank you!", "We are sorry to hear that, please write to us.", "Good to know: the description says so now."]


class Seeded(NamedTuple):
    """What there is now."""

    made: bool
    """False: it was all there before."""
    items: int
    users: int
    reviews: int


@transaction.atomic
def seed() -> Seeded:
    """Fills an empty shop; leaves a shop that has items as it is. All of it or nothing."""
    made = not Item.objects.exists()
    if made:
        random_numbers = random.Random(2025)  # noqa: S311 - the same shop every time is the point
        _users()
        prices = _items(random_numbers)
        _reviews(random_numbers)
        _changed()
        _orders(random_numbers, prices)
        recompute()
        _move_counters([User, Token, Item, Option, Review, Order, Line, Similarity, Suggestion])
    return Seeded(made, Item.objects.count(), User.objects.count(), Review.objects.count())


def _users() -> None:
    # One hash for all: it is one password, and everybody may know it. Hashed fifty times over it would be no better kept.
    password = make_password(PASSWORD, salt="seededseededseededseeded")
    User.objects.bulk_create(
        User(
            pk=number,
            username=name,
            email=f"{name}@shop.example",
            password=password,
            is_staff=number == 1,
            date_joined=START - timedelta(days=number),
        )
        for number, name in enumerate(USERS, 1)
    )
    Token.objects.bulk_create(
        Token(pk=number, user_id=number, digest=digest(token(name)), created_at=START) for number, name in enumerate(USERS, 1)
    )


def _items(random_numbers: random.Random) -> dict[int, Decimal]:
    """Makes the items and their options; returns each option's price."""
    things = [(category, thing) for category, names in _THINGS.items() for thing in names]
    items: list[Item] = []
    options: list[Option] = []
    prices: dict[int, Decimal] = {}
    for number in range(1, ITEMS + 1):
        category, thing = things[(number - 1) % len(things)]
        wood = _WOODS[(number - 1) // len(things)]
        price = Decimal(random_numbers.randrange(500, 25000)) / 100
        name = f"{wood} {thing}"
        items.append(
            Item(
                pk=number,
                name=name,
                category=category,
                price=price,
                description=f"A {thing} of solid {wood.lower()}, oiled by hand.",
                changed_at=START,
                stock_changed_at=START,
            )
        )
        for size, surcharge in _SIZES:
            option = Option(pk=len(options) + 1, item_id=number, name=size, surcharge=surcharge, stock=random_numbers.randrange(20, 200))
            options.append(option)
            items[-1].stock += option.stock
            prices[option.pk] = price + surcharge
    Item.objects.bulk_create(items, batch_size=BATCH)
    Option.objects.bulk_create(options, batch_size=BATCH)
    return prices


def _reviews(random_numbers: random.Random) -> None:
    pairs = [(item, user) for item in range(1, ITEMS - UNREVIEWED + 1) for user in range(1, len(USERS) + 1)]
    moments = random_numbers.sample(range(_MINUTES), REVIEWS)
    Review.objects.bulk_create(
        (
            Review(
                pk=number,
                item_id=item,
                user_id=user,
                rating=random_numbers.choices([1, 2, 3, 4, 5], weights=[5, 8, 15, 34, 38])[0],
                title=random_numbers.choice(_TITLES),
                body=random_numbers.choice(_BODIES),
                reply=random_numbers.choice(_REPLIES) if random_numbers.random() < 0.3 else None,
                helpful=random_numbers.randrange(40),
                created_at=START + timedelta(minutes=moment),
            )
            for number, ((item, user), moment) in enumerate(zip(random_numbers.sample(pairs, REVIEWS), moments, strict=True), 1)
        ),
        batch_size=BATCH,
    )


def _changed() -> None:
    """As if nobody had changed anything since."""
    Changed.objects.bulk_create((Changed(item_id=item, at=START) for item in range(1, ITEMS + 1)), batch_size=BATCH)


def _orders(random_numbers: random.Random, prices: dict[int, Decimal]) -> None:
    """Three orders for each user."""
    orders: list[Order] = []
    lines: list[Line] = []
    for number in range(1, len(USERS) * 3 + 1):
        chosen = random_numbers.sample(sorted(prices), random_numbers.randrange(1, 4))
        quantities = [random_numbers.randrange(1, 4) for _ in chosen]
        orders.append(
            Order(
                pk=number,
                user_id=(number - 1) % len(USERS) + 1,
                status=random_numbers.choice(Order.Status.values),
                total=sum(prices[option] * quantity for option, quantity in zip(chosen, quantities, strict=True)),
                created_at=START + timedelta(minutes=random_numbers.randrange(_MINUTES)),
            )
        )
        for option, quantity in zip(chosen, quantities, strict=True):
            lines.append(Line(pk=len(lines) + 1, order_id=number, option_id=option, quantity=quantity, unit_price=prices[option]))
    Order.objects.bulk_create(orders, batch_size=BATCH)
    Line.objects.bulk_create(lines, batch_size=BATCH)


def _move_counters(models: Iterable[type]) -> None:
    """PostgreSQL's sequences know nothing of ids that were given; SQLite's counters follow by themselves."""
    statements = connection.ops.sequence_reset_sql(no_style(), list(models))
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
