"""The new services answer what the shop answers; with faults, they differ in exactly what the table of faults says.

The second half runs Banyan's own comparison over real answers, so it also shows that each fault is found in ordinary traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.processes import Running
from demo.shop import Shop, start_recommendations, start_reviews
from services.faults import SIGNATURES, Fault, Signature, expected, of_service
from shadow.compare import Rules, compare
from shadow.exchange import Answer
from shadow.normalise import Message, read
from shadow.signature import signature

REVIEWS = [
    *(f"/api/v1/reviews/?item={item}" for item in (*range(1, 61), 197, 198, 199, 200)),
    *(f"/api/v1/reviews/?item={item}&page={page}" for item in range(61, 91) for page in (1, 2, 3)),
    *(f"/api/v1/reviews/?page={page}" for page in (1, 2, 249, 250)),
    *(f"/api/v1/reviews/{review}" for review in range(1, 5001, 50)),
    *(f"/api/v1/reviews/summary/{item}" for item in range(140, 201)),
    "/api/v1/reviews/",
]
REVIEWS_ERRORS = [
    *(
        f"/api/v1/reviews/?item={item}"
        for item in ("201", "2147483647", "2147483648", "0", "-1", "x", "", "1.0", "%D9%A3", "1%00", "+1", "1+", "01")
    ),
    *(f"/api/v1/reviews/?page={page}" for page in ("251", "0", "x", "", "99999999999", "2147483647")),
    "/api/v1/reviews/?item=1&page=40",
    "/api/v1/reviews/?item=999&page=x",
    "/api/v1/reviews/?item=1&item=2",
    "/api/v1/reviews/?item=x&item=2",
    "/api/v1/reviews/?item=2;page=2",
    "/api/v1/reviews/?ITEM=2",
    "/api/v1/reviews/?item",
    *(
        f"/api/v1/reviews/{review}"
        for review in ("0", "5002", "x", "-1", "1.5", "007", "summary", "summary/", "summary/201", "summary/x", "1/", "1/2")
    ),
    *(f"/api/v1/reviews{rest}" for rest in ("", "?item=1", "//", "/%20", "/%2F", "/1%2F", "/1%0A", "/%FF")),
]
RECOMMENDATIONS = [
    *(f"/api/v1/recommendations/?item={item}" for item in range(1, 201)),
    *(f"/api/v1/recommendations/{user}" for user in range(1, 51)),
]
RECOMMENDATIONS_ERRORS = [
    *(f"/api/v1/recommendations/{user}" for user in ("51", "0", "x", "99999999999", "1/", "01")),
    *(f"/api/v1/recommendations/?item={item}" for item in ("201", "0", "x", "", "99999999999")),
    "/api/v1/recommendations/",
    "/api/v1/recommendations",
]

Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture
def both(shop: Shop, reviews: Running, recommendations: Running) -> Iterator[dict[str, Pair]]:
    with (
        httpx.Client(base_url=shop.url) as legacy,
        httpx.Client(base_url=reviews.url) as one,
        httpx.Client(base_url=recommendations.url) as two,
    ):
        yield {"reviews": (legacy, one), "recommendations": (legacy, two)}


@pytest.mark.parametrize(
    ("service", "paths", "statuses"),
    [
        ("reviews", REVIEWS, {200, 404}),  # 404: few items have a third page
        ("reviews", REVIEWS_ERRORS, {200, 400, 404}),
        ("recommendations", RECOMMENDATIONS, {200}),
        ("recommendations", RECOMMENDATIONS_ERRORS, {200, 400, 404}),
    ],
    ids=["reviews", "reviews-errors", "recommendations", "recommendations-errors"],
)
def test_without_faults_every_answer_is_the_same(both: dict[str, Pair], service: str, paths: list[str], statuses: set[int]) -> None:
    legacy, candidate = both[service]
    seen = set()
    for path in paths:
        left, right = legacy.get(path), candidate.get(path)
        assert (left.status_code, left.headers["content-type"]) == (right.status_code, right.headers["content-type"]), path
        assert left.json() == right.json(), path
        assert list(left.json()) == list(right.json()), path
        for header in ("cache-control", "location"):
            assert left.headers.get(header) == right.headers.get(header), path
        seen.add(left.status_code)
    assert seen == statuses


@pytest.mark.parametrize(
    ("service", "paths"), [("reviews", REVIEWS[::40] + REVIEWS_ERRORS[::6]), ("recommendations", RECOMMENDATIONS[::40])]
)
def test_head_is_get_without_the_body(both: dict[str, Pair], service: str, paths: list[str]) -> None:
    for path in paths:
        for client in both[service]:
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"], path
            assert head.headers["content-length"] == str(len(get.content)), path


def test_nobody_writes_to_services_that_are_run_alone(both: dict[str, Pair]) -> None:
    for service, refusal in (("reviews", (503, "unavailable")), ("recommendations", (405, "method_not_allowed"))):
        answer = both[service][1].post(f"/api/v1/{service}/", json={}, headers={"Banyan-Identity": "forged"})
        assert (answer.status_code, answer.json()["error"]) == refusal


def as_message(answer: httpx.Response) -> Message:
    head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.headers.raw)
    return read(Answer("legacy", "", answer.status_code, head, answer.content, 0.0))


def found(route: str, legacy: httpx.Client, candidate: httpx.Client, paths: list[str]) -> Counter[Signature]:
    """How many of the answers hold each signature."""
    counts: Counter[Signature] = Counter()
    for path in paths:
        verdict = compare(as_message(legacy.get(path)), as_message(candidate.get(path)), Rules.make())
        counts.update({Signature(route, *signature(difference)) for difference in verdict.differences})
    return counts


ORDINARY = {
    "reviews": REVIEWS[:80] + REVIEWS[-70:],
    "recommendations": [*RECOMMENDATIONS[::3], *(f"/api/v1/recommendations/{user}" for user in range(51, 61))],
}


@pytest.mark.parametrize("service", ["reviews", "recommendations"])
def test_all_faults_at_once_give_exactly_their_signatures(workdir: Path, shop: Shop, service: str) -> None:
    start = {"reviews": start_reviews, "recommendations": start_recommendations}[service]
    faults = of_service(service)
    running = start(workdir / "faulty", shop, faults)
    try:
        with httpx.Client(base_url=shop.url) as legacy, httpx.Client(base_url=running.url) as candidate:
            assert candidate.get("/healthz").json() == {"status": "ok", "faults": sorted(faults)}
            counts = found(service, legacy, candidate, ORDINARY[service])
    finally:
        running.stop()
    assert set(counts) == expected(faults)
    assert min(counts.values()) >= 10, counts


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_alone_gives_its_own_signature(workdir: Path, shop: Shop, fault: Fault) -> None:
    service = SIGNATURES[fault].route
    start = {"reviews": start_reviews, "recommendations": start_recommendations}[service]
    running = start(workdir / fault, shop, [fault])
    try:
        with httpx.Client(base_url=shop.url) as legacy, httpx.Client(base_url=running.url) as candidate:
            counts = found(service, legacy, candidate, ORDINARY[service][::-2])
    finally:
        running.stop()
    assert set(counts) == {SIGNATURES[fault]}
