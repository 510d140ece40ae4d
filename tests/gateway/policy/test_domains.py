"""Which domain may call which."""

from __future__ import annotations

import pytest

from gateway.policy.domains import Order, Verdict, domain_of

ORDER = Order(["user", "item", ["search", "review"]])


@pytest.mark.parametrize(
    ("caller", "target", "verdict"),
    [
        ("item", "user", Verdict.WITH),
        ("review", "user", Verdict.WITH),
        ("user", "item", Verdict.AGAINST),
        ("search", "review", Verdict.AGAINST),
        ("review", "search", Verdict.AGAINST),
        ("review", "review", Verdict.OWN),
        ("review", "other", Verdict.UNLISTED),
        ("", "user", Verdict.UNLISTED),
        ("stranger", "stranger", Verdict.UNLISTED),
    ],
)
def test_the_way_is_from_later_to_earlier(caller: str, target: str, verdict: Verdict) -> None:
    assert ORDER.verdict(caller, target) is verdict


def test_no_two_domains_may_call_each_other() -> None:
    """So that of calls which are all right no circle can be made."""
    for one in ORDER.names:
        for other in ORDER.names:
            if one != other:
                assert [ORDER.verdict(one, other), ORDER.verdict(other, one)].count(Verdict.WITH) <= 1


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("/api/v1/review/3", "review"),
        ("/api/v12/review", "review"),
        ("/api/v1/review?item=3", "review"),
        ("/api/v1/review/*", "review"),
        ("/api/{version}/review/*", "review"),
        ("/api/{}/review/*", ""),
        ("/api/{version}s/review/*", ""),
        ("/api/{version}/{domain}/*", ""),
        ("/api/v1/{domain}/3", ""),
        ("/api/v1/*", ""),
        ("/api/review/3", ""),
        ("/x/api/v1/review", ""),
        ("/api/v1/%72eview/3", ""),
        ("/api/v1//review", ""),
        ("/api/v1/" + "a" * 64 + "/3", ""),
    ],
)
def test_the_domain_stands_in_the_path(path: str, domain: str) -> None:
    assert domain_of(path) == domain
    assert ORDER.of_path(path) == domain


def test_what_is_not_in_the_order_is_nobodys() -> None:
    assert domain_of("/api/v1/orders/3") == "orders"
    assert ORDER.of_path("/api/v1/orders/3") == ""
