"""A seeded shop under gunicorn, one for each test process, and clients of it. What a test writes there, others may see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from demo.postgres import start_postgres
from demo.shop import PASSWORD, Shop, start_shop

SignIn = Callable[[str], httpx.Client]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    running = start_shop(tmp_path_factory.mktemp("shop"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = start_postgres(tmp_path_factory.mktemp("postgres"), "shop")
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def postgres_shop(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Shop]:
    running = start_shop(tmp_path_factory.mktemp("postgres-shop"), database=postgres_url)
    yield running
    running.stop()


@pytest.fixture
def client(shop: Shop) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shop.url) as client:
        yield client


@pytest.fixture
def sign_in(shop: Shop) -> Iterator[SignIn]:
    """Signs a user in the way a browser does: fetches the form, sends it back with its token."""
    clients: list[httpx.Client] = []

    def sign_in(name: str) -> httpx.Client:
        client = httpx.Client(base_url=shop.url)
        clients.append(client)
        form = client.get("/login/")
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
        assert found
        answer = client.post("/login/", data={"username": name, "password": PASSWORD, "csrfmiddlewaretoken": found[1]})
        assert answer.status_code == 302, answer.text
        # What the shop's own JavaScript would send with every write.
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        return client

    yield sign_in
    for client in clients:
        client.close()
