"""The checkout: an order is paid once, whatever the provider does, and the shop says only what it knows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pytest

from demo.providers import Provider, start_provider
from demo.shop import Shop, manage_shop, start_shop
from legacy_django.accounts.seeded import USERS, token
from legacy_django.orders.provider import Outcome, understood

_ORDERS = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkout")


@pytest.fixture(scope="module")
def first(folder: Path) -> int:
    """The first of a hundred orders; order n is of user n, in turn."""
    manage_shop(folder, "seed")
    return int(manage_shop(folder, "orders", "100").split()[0])


class Till:
    """A shop, the provider that it asks, and orders to be paid."""

    def __init__(self, shop: Shop, psp: Provider, first: int) -> None:
        self.shop = shop
        self.psp = psp
        self._first = first

    def order(self) -> tuple[int, dict[str, str]]:
        """(an order nobody has paid, whose it is as a header)"""
        number = next(_ORDERS)
        return self._first + number, {"Authorization": f"Token {token(USERS[number % len(USERS)])}"}

    def pay(self, order: tuple[int, dict[str, str]], card: str = "4242") -> httpx.Response:
        return httpx.post(f"{self.shop.url}/api/v1/orders/{order[0]}/payment", json={"card": card}, headers=order[1], timeout=20)

    def state(self, order: tuple[int, dict[str, str]]) -> httpx.Response:
        return httpx.get(f"{self.shop.url}/api/v1/orders/{order[0]}/payment", headers=order[1], timeout=20)

    def charges(self, order: tuple[int, dict[str, str]]) -> list[str]:
        """The keys by which it was charged."""
        return [name for name, reference in self.psp.charges() if reference == f"order-{order[0]}"]


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[Psp]:
    found = Psp(tmp_path)
    yield found
    found.running.stop()


class Psp:
    """A provider that a test may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = start_provider("psp-a", folder)

    def again(self) -> None:
        self.running = start_provider("psp-a", self.folder, port=self.running.port)


def till(folder: Path, psp: Psp, first: int, **env: str) -> Iterator[Till]:
    settings = {"BANYAN_SHOP_PAYMENTS_URL": f"{psp.running.url}/api/v1/payments/", "BANYAN_SHOP_PAYMENTS_SECONDS": "2", **env}
    shop = start_shop(folder, workers=1, env=settings)
    yield Till(shop, psp.running, first)
    shop.stop()


@pytest.fixture
def careful(folder: Path, psp: Psp, first: int) -> Iterator[Till]:
    yield from till(folder, psp, first)


@pytest.fixture
def careless(folder: Path, psp: Psp, first: int) -> Iterator[Till]:
    yield from till(folder, psp, first, BANYAN_SHOP_PAYMENTS_CARELESS="1")


def test_an_order_is_paid_once_however_often_it_is_paid(careful: Till) -> None:
    order = careful.order()
    assert careful.state(order).status_code == 404
    answers = [careful.pay(order) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    told = answers[0].json()
    assert (told["state"], told["provider"], told["key"]) == ("paid", "psp-a", f"order-{order[0]}-1")
    assert careful.state(order).json() == told
    assert careful.charges(order) == [f"order-{order[0]}-1"]
    found = httpx.get(f"{careful.psp.url}/api/v1/payments/{told['reference']}").json()
    assert found["amount"] == round(told["amount"] * 100)


def test_of_many_presses_at_once_one_charges(careful: Till) -> None:
    order = careful.order()
    careful.psp.switch("slow@*")
    with ThreadPoolExecutor(6) as threads:
        statuses = [answer.status_code for answer in threads.map(lambda _: careful.pay(order), range(6))]
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    assert careful.state(order).json()["state"] == "paid"
    assert len(careful.charges(order)) == 1


def test_another_card_after_a_declined_one_is_another_payment(careful: Till) -> None:
    order = careful.order()
    assert careful.pay(order, "declined").status_code == 402
    assert careful.state(order).json()["state"] == "declined"
    assert careful.pay(order).status_code == 200
    assert careful.charges(order) == [f"order-{order[0]}-2"]


def test_nobody_is_asked_twice_of_a_payment_that_nobody_knows_of(careful: Till, psp: Psp) -> None:
    """Charged, and dead before it could say so: the shop does not know, and the next press asks for the same payment."""
    order = careful.order()
    psp.running.switch("die_after_charging@*")
    answer = careful.pay(order)
    assert (answer.status_code, answer.json()["state"]) == (202, "unknown")
    assert psp.running.process.wait(5) == -signal.SIGKILL
    assert careful.pay(order).status_code == 202  # nobody is there; what was unknown is so still
    assert careful.state(order).json()["state"] == "unknown"
    psp.again()
    assert careful.pay(order).status_code == 200
    assert careful.charges(order) == [f"order-{order[0]}-1"]


def test_a_provider_that_hangs_leaves_it_open(careful: Till) -> None:
    order = careful.order()
    careful.psp.switch("hang@*")
    assert careful.pay(order).status_code == 202
    careful.psp.switch("")
    assert careful.charges(order) == []


def test_where_nobody_listens_nobody_was_charged(careful: Till, psp: Psp) -> None:
    order = careful.order()
    psp.running.kill()
    answer = careful.pay(order)
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "payment_unavailable", "1")
    assert careful.state(order).json()["state"] == "failed"
    psp.again()
    assert careful.pay(order).status_code == 200
    assert careful.charges(order) == [f"order-{order[0]}-1"]


def test_the_careless_checkout_charges_twice(careless: Till, psp: Psp) -> None:
    """As it was: what the drill shows has to be there."""
    order = careless.order()
    psp.running.switch("die_after_charging@*")
    assert careless.pay(order).json()["error"] == "payment_failed"
    psp.running.process.wait(5)
    psp.again()
    assert careless.pay(order).status_code == 200
    assert careless.charges(order) == [f"order-{order[0]}"] * 2  # by its reference: there was no key


def test_it_is_ones_own_order_and_a_card(careful: Till) -> None:
    order, other = careful.order(), careful.order()
    assert careful.pay((order[0], other[1])).status_code == 404
    assert careful.pay((order[0], {})).status_code in (401, 403)
    assert careful.pay(order, "").status_code == 400
    assert careful.charges(order) == []


def test_a_shop_without_a_provider_says_so(shop: Shop) -> None:
    headers = {"Authorization": f"Token {token(USERS[0])}"}
    options = httpx.get(f"{shop.url}/api/v1/items/1").json()["options"]
    made = httpx.post(f"{shop.url}/api/v1/orders/", json={"lines": [{"option": options[0]["id"], "quantity": 1}]}, headers=headers).json()
    answer = httpx.post(f"{shop.url}/api/v1/orders/{made['id']}/payment", json={"card": "4242"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (503, "payments_not_configured")


RECEIPT = b'{"status": "charged", "provider": "psp-a", "id": "psp-a-000001"}'


@pytest.mark.parametrize(
    ("status", "error", "body", "outcome"),
    [
        (201, "", RECEIPT, Outcome.PAID),
        (200, "", RECEIPT, Outcome.PAID),
        (201, "", RECEIPT[:-9], Outcome.UNKNOWN),
        (200, "", b"<html>", Outcome.UNKNOWN),
        (402, "", b"", Outcome.DECLINED),
        (409, "", b"", Outcome.RUNNING),
        (409, "key-running", b"", Outcome.RUNNING),
        (409, "in-doubt", b"", Outcome.UNKNOWN),
        (409, "answered-before", b"", Outcome.UNKNOWN),
        (422, "key-reused", b"", Outcome.REFUSED),
        (400, "", b"", Outcome.REFUSED),
        (408, "", b"", Outcome.UNKNOWN),
        (429, "rate-limited", b"", Outcome.NOT_SENT),
        (503, "ledger-unavailable", b"", Outcome.NOT_SENT),
        (503, "", b"", Outcome.UNKNOWN),
        (500, "", b"", Outcome.UNKNOWN),
        (502, "upstream-unreachable", b"", Outcome.NOT_SENT),
        (504, "upstream-connect-timeout", b"", Outcome.NOT_SENT),
        (502, "outcome-unknown", b"", Outcome.UNKNOWN),
        (504, "outcome-unknown-timeout", b"", Outcome.UNKNOWN),
        (502, "", b"", Outcome.UNKNOWN),
    ],
)
def test_what_an_answer_means(status: int, error: str, body: bytes, outcome: Outcome) -> None:
    assert understood(status, error, body).outcome is outcome
