"""The reviews service behind stamps: what it lets read, and whose review it takes. The shop is not running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import Running
from demo.shop import Shop, start_recommendations, start_reviews
from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import read_key
from gateway.policy.admission import Standing
from tests.support.stamp_keys import SECRET

KEY = read_key(SECRET)
REVIEWS = "/api/v1/reviews/"


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[Running]:
    running = start_reviews(tmp_path_factory.mktemp("stamped"), shop, stamp_key=SECRET)
    yield running
    running.stop()


def stamp(user: str | None = "3", audience: str = "reviews", **claims: str) -> dict[str, str]:
    caller = ANONYMOUS if user is None else Caller(user, "s", claims, standing=Standing.KNOWN)
    line = Stamps(KEY.sign, KEY.kid, "banyan", 60).field(caller, audience, time.time())
    return {"Banyan-Identity": line.partition(b": ")[2].decode()}


def review(item: int = 1, **more: Any) -> dict[str, Any]:
    return {"item": item, "rating": 4, "title": "Good", "body": "It does what it says.", **more}


def unreviewed(service: Running, user: int) -> int:
    """An item that this user has not reviewed."""
    with httpx.Client(base_url=service.url, headers=stamp()) as client:
        for item in range(1, 200):
            page, mine = 1, False
            while page:
                found = client.get(REVIEWS, params={"item": item, "page": page}).json()
                mine = mine or any(each["user"]["id"] == user for each in found["results"])
                page = found["next"]
            if not mine:
                return item
    raise AssertionError("he has reviewed everything")


def test_reading_takes_a_stamp_for_this_service_anybody_s(stamped: Running) -> None:
    assert httpx.get(f"{stamped.url}{REVIEWS}").status_code == 401
    assert httpx.get(f"{stamped.url}{REVIEWS}", headers=stamp(None)).status_code == 200
    refused = httpx.get(f"{stamped.url}{REVIEWS}", headers=stamp(audience="legacy"))
    assert (refused.status_code, refused.json()["error"], refused.headers["www-authenticate"]) == (401, "audience", "Banyan-Identity")
    assert httpx.get(f"{stamped.url}/healthz").status_code == 200


def test_a_review_is_its_user_s_and_is_read_again(stamped: Running) -> None:
    item = unreviewed(stamped, 3)
    made = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers=stamp("3"))
    assert made.status_code == 201, made.text
    assert made.json()["user"] == {"id": 3, "name": made.json()["user"]["name"]}
    assert made.json()["user"]["name"]
    read = httpx.get(f"{stamped.url}{made.headers['location']}", headers=stamp(None))
    assert read.json() == made.json()
    listed = httpx.get(f"{stamped.url}{REVIEWS}", params={"item": item}, headers=stamp(None)).json()["results"]
    assert listed[0] == made.json()
    again = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers=stamp("3"))
    assert (again.status_code, again.json()["error"]) == (409, "already_reviewed")


def test_the_name_is_the_gateway_s_word_where_it_says_one(stamped: Running) -> None:
    made = httpx.post(f"{stamped.url}{REVIEWS}", json=review(), headers=stamp("123456", username="newcomer"))
    assert made.json()["user"] == {"id": 123456, "name": "newcomer"}
    unknown = httpx.post(f"{stamped.url}{REVIEWS}", json=review(), headers=stamp("123457"))
    assert (unknown.status_code, unknown.json()["error"]) == (403, "unknown_user")


def test_a_write_in_the_shadow_is_answered_and_not_kept(stamped: Running) -> None:
    item = unreviewed(stamped, 3)

    def rows() -> tuple[int, int]:
        listed = httpx.get(f"{stamped.url}{REVIEWS}", headers=stamp()).json()["count"]
        of_item = httpx.get(f"{stamped.url}{REVIEWS}", params={"item": item}, headers=stamp()).json()["count"]
        return listed, of_item

    before = rows()
    for _ in range(3):
        made = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers={**stamp("3"), "Banyan-Shadow": "1"})
        assert (made.status_code, made.json()["item"], made.json()["rating"]) == (201, item, 4)
    assert rows() == before
    assert httpx.get(f"{stamped.url}{made.headers['location']}", headers=stamp()).status_code == 404
    # What would be refused is refused in the shadow too, and the real one comes through.
    wrong = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item, rating=6), headers={**stamp("3"), "Banyan-Shadow": "1"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "bad_field")
    real = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers=stamp("3"))
    assert real.status_code == 201
    assert {**real.json(), "created_at": ""} == {**made.json(), "created_at": ""}
    again = httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers={**stamp("3"), "Banyan-Shadow": "1"})
    assert (again.status_code, again.json()["error"]) == (409, "already_reviewed")


@pytest.mark.parametrize(
    ("who", "headers", "body", "status", "code"),
    [
        (None, {}, review(), 401, "missing"),
        ({"user": None}, {}, review(), 401, "anonymous"),
        ({"audience": "legacy"}, {}, review(), 401, "audience"),
        ({"user": "not-a-number"}, {}, review(), 403, "not_a_user"),
        ({}, {"Origin": "https://evil.test"}, review(), 403, "foreign_origin"),
        ({}, {"Origin": "null"}, review(), 403, "foreign_origin"),
        ({}, {"Sec-Fetch-Site": "cross-site"}, review(), 403, "foreign_origin"),
        ({}, {"Sec-Fetch-Site": "same-site"}, review(), 403, "foreign_origin"),
        ({}, {"Content-Type": "text/plain"}, review(), 415, "not_json"),
        ({}, {"Content-Type": "application/x-www-form-urlencoded"}, review(), 415, "not_json"),
        ({}, {}, [], 400, "bad_json"),
        ({}, {}, review(rating=6), 400, "bad_field"),
        ({}, {}, review(rating=True), 400, "bad_field"),
        ({}, {}, review(title=" "), 400, "bad_field"),
        ({}, {}, review(body="x" * 4001), 400, "bad_field"),
        ({}, {}, review(body="\0"), 400, "bad_field"),
        ({}, {}, review(10**6), 404, "not_found"),
        ({}, {}, review(body="x" * 70_000), 413, "too_large"),
    ],
)
def test_what_is_refused_writes_nothing(
    stamped: Running, who: dict[str, Any] | None, headers: dict[str, str], body: Any, status: int, code: str
) -> None:
    stamps = stamp(**who) if who is not None else {}  # made now: one that was made when the tests were collected may have expired
    before = httpx.get(f"{stamped.url}{REVIEWS}", headers=stamp()).json()["count"]
    answer = httpx.post(f"{stamped.url}{REVIEWS}", json=body, headers={**stamps, **headers})
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert httpx.get(f"{stamped.url}{REVIEWS}", headers=stamp()).json()["count"] == before


def test_a_page_of_the_shop_s_own_may(stamped: Running) -> None:
    item = unreviewed(stamped, 5)
    own = {"Origin": f"http://127.0.0.1:{stamped.port}", "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(f"{stamped.url}{REVIEWS}", json=review(item), headers={**stamp("5"), **own}).status_code == 201


def test_many_at_once_make_one_review_of_each_user(stamped: Running) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def post(user: int) -> int:
        return httpx.post(f"{stamped.url}{REVIEWS}", json=review(2), headers=stamp(str(user), username="many"), timeout=30).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(post, [700_000 + number % 10 for number in range(40)]))
    assert sorted(statuses) == [201] * 10 + [409] * 30


def test_recommendations_refuse_what_is_not_stamped_for_them(tmp_path: Path, shop: Shop) -> None:
    running = start_recommendations(tmp_path, shop, stamp_key=SECRET)
    try:
        url = f"{running.url}/api/v1/recommendations/?item=1"
        assert httpx.get(url, headers=stamp()).json()["error"] == "audience"
        assert httpx.get(url, headers=stamp(audience="recommendations")).status_code == 200
    finally:
        running.stop()
