"""The product view of the shop says when each part was changed last: what a candidate for it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.shop import Shop, manage_shop, start_shop
from events.envelope import moment, parsed
from legacy_django.accounts.seeded import token
from services.product_view.documents import PARTS

START = datetime(2025, 1, 1, tzinfo=UTC)
"""As legacy_django/seeding.py has it, which wants Django."""
ITEM = 199
"""Nobody has reviewed it."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One that nobody else changes."""
    running = start_shop(tmp_path_factory.mktemp("changed"), workers=1)
    yield running
    running.stop()


def told(shop: Shop) -> dict[str, str]:
    answer = httpx.get(f"{shop.url}/api/v1/product-view/{ITEM}")
    assert answer.status_code == 200
    return dict(answer.json()["as_of"])


def post(shop: Shop, path: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{shop.url}/api/v1/{path}/", json=document, headers={"Authorization": f"Token {token('user07')}"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def office(code: str) -> Callable[[Shop], object]:
    """The back office does it."""

    given = (
        "from decimal import Decimal",
        "from django.db import transaction",
        "from legacy_django.items.changing import set_discount, set_price, set_stock",
        "from legacy_django.items.models import Option",
        "from legacy_django.outbox.telling import review_deleted",
        "from legacy_django.reviews.changing import rate",
        "from legacy_django.reviews.models import Review",
        code,
    )

    def run(shop: Shop) -> object:
        return manage_shop(Path(shop.log).parent, "shell", "-c", "\n".join(given), database=shop.database)

    return run


def ordered(shop: Shop) -> object:
    option = httpx.get(f"{shop.url}/api/v1/product-view/{ITEM}").json()["options"][0]["id"]
    return post(shop, "orders", {"lines": [{"option": option, "quantity": 1}]})


CHANGES: list[tuple[Callable[[Shop], object], set[str]]] = [
    (office(f"set_price({ITEM}, Decimal('12.50'))"), {"product", "price", "discount"}),
    (office(f"set_discount({ITEM}, 20)"), {"product", "price", "discount"}),
    (office(f"set_discount({ITEM}, 0)"), {"product", "price", "discount"}),
    (office(f"set_stock(Option.objects.filter(item={ITEM}).first().pk, 77)"), {"stock"}),
    (ordered, {"stock"}),
    (lambda shop: post(shop, "reviews", {"item": ITEM, "rating": 4, "title": "t", "body": "b"}), {"reviews"}),
    (office(f"rate(Review.objects.filter(item={ITEM}).first().pk, 2)"), {"reviews"}),
    (office(f"transaction.atomic(review_deleted)(1, {ITEM})"), {"reviews"}),
]


@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_each_change_is_the_last_of_its_parts_and_of_no_other(shop: Shop, change: int) -> None:
    make, parts = CHANGES[change]
    before = told(shop)
    assert tuple(before) == PARTS
    assert all(parsed(text) >= START for text in before.values())
    make(shop)
    after = told(shop)
    assert {part for part in PARTS if after[part] != before[part]} == parts
    assert all(after[part] > before[part] for part in parts), "as texts they sort as the moments do"


def test_what_was_never_changed_is_as_old_as_the_shop(shop: Shop) -> None:
    assert set(httpx.get(f"{shop.url}/api/v1/product-view/189").json()["as_of"].values()) == {moment(START)}
