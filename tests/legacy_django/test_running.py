"""Starting, seeding and stopping the shop, on both databases."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from demo.processes import ROOT, StartError
from demo.shop import Shop, start_shop

PATHS = [
    "/api/v1/items/",
    "/api/v1/items/17",
    "/api/v1/reviews/?item=17",
    "/api/v1/reviews/4711",
    "/api/v1/reviews/summary/17",
    "/api/v1/reviews/?item=199",
    "/api/v1/recommendations/?item=17",
    "/api/v1/recommendations/17",
    "/api/v1/users/17",
    "/api/v1/users/51",
]


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """manage.py as a person would call it, from another folder than the repository's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "BANYAN_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "legacy_django" / "manage.py"), *arguments],
        cwd=folder,
        env={**clean, "BANYAN_SHOP_VAR": str(folder), "BANYAN_SHOP_PASSWORD_ITERATIONS": "1000", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def dump(path: Path) -> list[tuple[object, ...]]:
    """Everything that is the shop's own."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ["auth_user", "accounts_token", "items_item", "items_option", "reviews_review", "orders_order", "orders_line"]
        tables += ["recommendations_similarity", "recommendations_suggestion"]
        return [row for table in tables for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]  # noqa: S608 - see above


def test_seeding_is_the_same_everywhere_and_twice_is_once(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        done = manage(folder, "seed")
        assert done.returncode == 0, done.stderr
        assert "200 items, 5000 reviews, 50 users" in done.stdout
    one, two = (dump(folder / "shop.sqlite3") for folder in folders)
    assert one == two
    again = manage(folders[0], "seed")
    assert again.stdout.startswith("was filled before")
    assert dump(folders[0] / "shop.sqlite3") == one


def test_migrations_are_complete(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout


def test_a_broken_setting_stops_the_start_and_shows_no_password(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", DATABASE_URL="mysql://root:hunter2@db/shop")
    assert done.returncode != 0
    assert "DATABASE_URL: expected sqlite:///… or postgres://…" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_postgresql_answers_byte_for_byte_as_sqlite_does(shop: Shop, postgres_shop: Shop) -> None:
    for path in PATHS:
        left, right = httpx.get(shop.url + path), httpx.get(postgres_shop.url + path)
        assert (left.status_code, left.content) == (right.status_code, right.content), path


def test_on_postgresql_new_rows_come_after_the_seeded_ones(postgres_shop: Shop) -> None:
    with httpx.Client(base_url=postgres_shop.url) as client:
        token = client.get("/login/").text.split('csrfmiddlewaretoken" value="')[1].split('"')[0]
        fields = {"username": "user40", "password": "banyan-demo", "csrfmiddlewaretoken": token}
        assert client.post("/login/", data=fields).status_code == 302
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        made = client.post("/api/v1/reviews/", json={"item": 200, "rating": 3, "title": "t", "body": "b"})
        assert (made.status_code, made.json().get("id")) == (201, 5001)
        ordered = client.post("/api/v1/orders/", json={"lines": [{"option": 1, "quantity": 1}]})
        assert (ordered.status_code, ordered.json().get("id")) == (201, 151)


def test_stopping_is_clean_and_frees_the_port(tmp_path: Path) -> None:
    running = start_shop(tmp_path, workers=1)
    port = running.port
    assert running.stop() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    again = start_shop(tmp_path, workers=1, port=port)
    assert httpx.get(f"{again.url}/healthz").json() == {"status": "ok"}
    assert again.stop() == 0


def test_a_shop_that_cannot_be_seeded_says_why(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(StartError, match=r"seeding the shop failed with status 1:(.|\n)*not a database"):
        start_shop(tmp_path)
