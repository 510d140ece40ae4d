"""The shop as its customers meet it: JSON, pages, upload, export."""

from __future__ import annotations

import csv
import http.client
import io
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from demo.shop import Shop

SignIn = Callable[[str], httpx.Client]


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "peru").save(out, kind)
    return out.getvalue()


def test_every_table_has_an_owner_in_the_plan_of_the_split(shop: Shop) -> None:
    page = (Path(__file__).parents[2] / "docs" / "design" / "database-split.md").read_text()
    with closing(sqlite3.connect(shop.database.removeprefix("sqlite:///"))) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # Of Django's own there are more, in which the shop has nothing.
    ours = {name for name in tables if not name.startswith(("sqlite_", "auth_", "django_"))} | {"auth_user", "django_session"}
    assert ours <= tables
    assert {name for name in ours if f"`{name}`" not in page} == set()


def test_items_come_in_pages(client: httpx.Client) -> None:
    first = client.get("/api/v1/items/").json()
    assert (first["count"], first["page"], first["next"], len(first["results"])) == (200, 1, 2, 20)
    last = client.get("/api/v1/items/?page=10").json()
    assert (last["next"], last["results"][-1]["id"]) == (None, 200)
    assert client.get("/api/v1/items/?page=11").status_code == 404
    assert client.get("/api/v1/items/?category=garden&q=oak").json()["count"] == 5
    assert client.get("/api/v1/items/?q=%00").status_code == 400


def test_an_item_has_options_with_stock(client: httpx.Client) -> None:
    item = client.get("/api/v1/items/7").json()
    assert [option["name"] for option in item["options"]] == ["small", "medium", "large"]
    assert isinstance(item["price"], float)
    assert all(option["stock"] > 0 for option in item["options"])


@pytest.mark.parametrize(
    "path", ["items/201", "items/x", "reviews/99999", "reviews/summary/201", "recommendations/51", "users/51", "", "a/b/c"]
)
def test_under_api_not_found_is_json(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.headers["content-type"], answer.json()["error"]) == (404, "application/json", "not_found")


@pytest.mark.parametrize("query", ["item=x", "item=0", "item=-1", "item=", "item=99999999999", "item=1&page=0", "page=1.5", "item=٣"])
def test_a_bad_parameter_is_named(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/api/v1/reviews/?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_parameter")
    assert answer.json()["detail"].startswith(("item:", "page:"))


def test_another_method_is_refused_with_what_is_allowed(client: httpx.Client, sign_in: SignIn) -> None:
    answer = sign_in("user01").delete("/api/v1/reviews/1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert client.options("/api/v1/reviews/").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_reviews_average_like_their_ratings(client: httpx.Client) -> None:
    ratings: list[int] = []
    page: int | None = 1
    while page:
        answer = client.get(f"/api/v1/reviews/?item=5&page={page}").json()
        ratings += [review["rating"] for review in answer["results"]]
        page = answer["next"]
    assert len(ratings) == answer["count"] > 10
    assert answer["average"] == round(sum(ratings) / len(ratings), 3)
    summary = client.get("/api/v1/reviews/summary/5").json()
    assert (summary["count"], summary["average"]) == (answer["count"], answer["average"])
    assert summary["stars"] == {str(star): ratings.count(star) for star in range(1, 6)}


def test_an_item_without_reviews_has_no_average(client: httpx.Client) -> None:
    answer = client.get("/api/v1/reviews/?item=200").json()
    assert answer == {"count": 0, "average": None, "page": 1, "next": None, "results": []}


def test_a_review_is_written_once(client: httpx.Client, sign_in: SignIn) -> None:
    review = {"item": 200, "rating": 4, "title": " Good ", "body": "Fine — really."}
    assert client.post("/api/v1/reviews/", json=review).status_code == 403  # no session, no token
    user = sign_in("user11")
    made = user.post("/api/v1/reviews/", json=review)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/api/v1/reviews/{made.json()['id']}"
    assert made.json()["user"] == {"id": 11, "name": "user11"}
    assert made.json()["title"] == "Good"
    assert made.json()["reply"] is None
    assert client.get(made.headers["location"]).json() == made.json()
    assert client.get("/api/v1/reviews/summary/200").json()["average"] == 4.0
    assert user.post("/api/v1/reviews/", json=review).status_code == 409


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rating": 6}, "rating"),
        ({"rating": True}, "rating"),
        ({"title": ""}, "title"),
        ({"body": 3}, "body"),
        ({"item": None}, "item"),
        ({"title": "a\0b"}, "title"),
        ({"body": "\ud800"}, "body"),
    ],
)
def test_a_bad_review_says_what_is_wrong(sign_in: SignIn, change: dict[str, Any], named: str) -> None:
    review = {"item": 1, "rating": 4, "title": "t", "body": "b", **change}
    content = json.dumps(review)  # httpx would refuse half a character; JSON's escapes don't
    answer = sign_in("user12").post("/api/v1/reviews/", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (400, named)


def test_a_body_that_is_no_json_object(sign_in: SignIn) -> None:
    user = sign_in("user12")
    for content in (b"{", b"[]", b"\xff", b"[" * 100_000):
        answer = user.post("/api/v1/reviews/", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_json")


def test_a_body_that_is_too_large(sign_in: SignIn) -> None:
    answer = sign_in("user12").post("/api/v1/reviews/", content=b" " * 2_000_000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_recommendations_are_sorted_by_score_then_id(client: httpx.Client) -> None:
    ties = 0
    for path in [*(f"?item={item}" for item in range(1, 20)), *(str(user) for user in range(1, 20))]:
        results = client.get(f"/api/v1/recommendations/{path}").json()["results"]
        ranks = [(-result["score"], result["id"]) for result in results]
        assert ranks == sorted(ranks)
        assert len(results) == 10
        ties += len({score for score, _ in ranks}) < len(ranks)
    assert ties > 25


def test_an_order_takes_stock_and_is_its_owners_alone(sign_in: SignIn) -> None:
    user = sign_in("user21")
    before = user.get("/api/v1/items/50").json()
    option = before["options"][1]
    made = user.post("/api/v1/orders/", json={"lines": [{"option": option["id"], "quantity": 2}]})
    assert made.status_code == 201, made.text
    assert made.json()["total"] == round(2 * (before["price"] + option["surcharge"]), 2)
    assert user.get("/api/v1/items/50").json()["options"][1]["stock"] == option["stock"] - 2
    assert user.get(made.headers["location"]).json() == made.json()
    assert user.get("/api/v1/orders/").json()["results"][0] == made.json()
    assert sign_in("user22").get(made.headers["location"]).status_code == 404


def test_many_buyers_never_sell_more_than_there_is(sign_in: SignIn) -> None:
    users = [sign_in(f"user{number}") for number in range(30, 38)]
    option = users[0].get("/api/v1/items/60").json()["options"][0]
    wanted = {"lines": [{"option": option["id"], "quantity": 30}]}
    with ThreadPoolExecutor(len(users)) as pool:
        statuses = list(pool.map(lambda user: user.post("/api/v1/orders/", json=wanted).status_code, users))
    left = users[0].get("/api/v1/items/60").json()["options"][0]["stock"]
    assert set(statuses) <= {201, 409}
    assert left == option["stock"] - 30 * statuses.count(201)
    assert 0 <= left < 30 or statuses.count(409) == 0


def test_an_order_that_fails_takes_nothing(sign_in: SignIn) -> None:
    user = sign_in("user23")
    options = user.get("/api/v1/items/70").json()["options"]
    for bad, status in (({"option": 999_999, "quantity": 1}, 400), ({"option": options[1]["id"], "quantity": 99}, None)):
        answer = user.post("/api/v1/orders/", json={"lines": [{"option": options[0]["id"], "quantity": 1}, bad, bad, bad]})
        assert answer.status_code == (status or 409)
    assert user.get("/api/v1/items/70").json()["options"] == options


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_uploaded_and_served(client: httpx.Client, sign_in: SignIn, kind: str) -> None:
    data = picture(kind)
    made = sign_in("user13").post("/api/v1/items/9/pictures", files={"picture": ("../../evil.png", data, "text/html")})
    assert made.status_code == 201, made.text
    assert (made.json()["width"], made.json()["height"]) == (40, 30)
    served = client.get(made.json()["url"])
    assert (served.content, served.headers["content-type"]) == (data, f"image/{kind.lower()}")
    assert served.headers["x-content-type-options"] == "nosniff"
    assert made.json()["url"] in client.get("/items/9/").text


def test_what_is_no_picture_is_refused(client: httpx.Client, sign_in: SignIn) -> None:
    user = sign_in("user13")
    for name, data in (("a.png", b"<script>"), ("a.png", picture()[:50]), ("a.gif", picture("GIF")), ("a.png", picture(size=(6000, 5000)))):
        answer = user.post("/api/v1/items/9/pictures", files={"picture": (name, data, "image/png")})
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_picture"), name
    assert user.post("/api/v1/items/9/pictures").status_code == 400
    assert client.post("/api/v1/items/9/pictures", files={"picture": ("a.png", picture())}).status_code == 403
    assert user.post("/api/v1/items/9/pictures", files={"picture": ("a.html", picture())}).status_code == 400


def test_the_export_streams(shop: Shop, sign_in: SignIn) -> None:
    staff = sign_in("user01")
    with staff.stream("GET", "/exports/reviews.csv") as answer:
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        rows = list(csv.DictReader(answer.iter_lines()))
    assert len(rows) >= 5000
    assert rows[0]["id"] == "1"
    assert sign_in("user02").get("/exports/reviews.csv").status_code == 403
    assert httpx.get(f"{shop.url}/exports/reviews.csv").status_code == 302


def test_pages_and_static_files(client: httpx.Client) -> None:
    assert "Ash board" in client.get("/").text
    page = client.get("/items/5/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert client.get("/items/201/").status_code == 404
    css = client.get("/static/shop/shop.css")
    assert css.headers["content-type"].startswith("text/css")
    assert client.get("/static/shop/shop.css", headers={"If-Modified-Since": css.headers["last-modified"]}).status_code == 304
    assert client.get("/static/../settings.py").status_code == 404
    assert client.get("/media/../shop-secret-key").status_code == 404
    assert client.get("/media/%2e%2e/shop-secret-key").status_code == 400


@pytest.mark.parametrize("path", ["/", "/api/v1/reviews/?item=1", "/api/v1/reviews/99999", "/static/shop/shop.css", "/items/201/"])
def test_head_is_get_without_the_body(shop: Shop, client: httpx.Client, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["content-type"] == get.headers["content-type"]
    assert "HEAD" not in shop.tail()


def test_connections_are_kept_alive(shop: Shop) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
    connection.connect()
    first = connection.sock
    for path in ("/healthz", "/api/v1/reviews/?item=1", "/api/v1/reviews/99999", "/static/shop/mark.svg"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("Connection", "keep-alive").lower() == "keep-alive"
    assert connection.sock is first
    connection.close()
