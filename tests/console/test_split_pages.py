"""A split route on the console's pages: its shares and where they are from, and nothing of comparisons, which it has none of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.console.test_flag_pages import Console, console_beside, text, until
from tests.support.admin_port import AdminPort, admin_port, feature

ROUTE = """
[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = { reviews = 70, search = 30 }
[upstreams.search]
url = "http://127.0.0.1:3"
"""


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


@pytest.fixture
def console(port: AdminPort) -> Iterator[Console]:
    with console_beside(port, ROUTE) as started:
        yield started


@pytest.fixture
def client(console: Console) -> Iterator[httpx.Client]:
    with closing(console.log_in()) as logged_in:
        yield logged_in


def test_the_shares_in_force_are_shown_with_their_source(console: Console, client: httpx.Client) -> None:
    console.flags(feature("reviews", True))
    until(lambda: "reviews 70 %, search 30 %, as configured" in text(client.get("/")), "the overview does not show the shares")
    overview = text(client.get("/"))
    assert "split not there" in overview
    assert "payments.split" not in overview  # a flag is named on its own page
    variants = [{"name": "reviews", "weight": 250}, {"name": "search", "weight": 750}]
    console.flags(feature("payments.split", True, strategies=[{"name": "default", "variants": variants}]))
    until(lambda: "reviews 25 %, search 75 %, by its variants" in text(client.get("/")), "the overview does not show the moved shares")
    page = text(client.get("/routes/payments/"))
    decides = "the providers\N{RIGHT SINGLE QUOTATION MARK} shares"
    for wanted in (f"payments.split {decides} on for everybody", "nothing is compared with legacy", "providers 0"):
        assert wanted in page, page
    for unwanted in ("Match rate", "Coverage", "Gate", "Signatures", "candidate 0"):
        assert unwanted not in page, page
    flags = text(client.get("/flags/"))
    assert f"payments.split {decides} on payments on for everybody" in flags
    assert "reviews.shadow whether the two are compared on reviews" in flags
    console.port.state["overrides"] = {
        "payments.split": {"enabled": False, "since": time.time(), "until": time.time() + 1800, "by": "ana", "why": "search is down"}
    }
    until(lambda: "reviews 70 %, search 30 %, as configured" in text(client.get("/")), "the overview does not know of the override")


def test_a_route_with_a_candidate_beside_it_is_shown_as_ever(client: httpx.Client) -> None:
    page = text(client.get("/routes/reviews/"))
    for wanted in ("Match rate", "Coverage", "Gate", "Signatures"):
        assert wanted in page, page
