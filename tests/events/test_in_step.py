"""All of it, as processes: the shop, the relays, the reviews service, the product view; and back. Nothing is lost or goes round."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import ROOT, Running, python, start
from demo.shop import Shop, manage_shop, start_product_view, start_reviews, start_shop
from events.envelope import Event
from gateway.identity.caller import Caller
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import read_key
from gateway.policy.admission import Standing
from legacy_django.accounts.seeded import token
from tests.support.nats import Nats, start_nats
from tests.support.outbox import in_stream
from tests.support.stamp_keys import SECRET

KEY = read_key(SECRET)


@dataclass
class World:
    """What runs, and how it is asked."""

    folder: Path
    shop: Shop
    reviews: Running
    view: Running
    nats: Nats
    others: list[Running]

    def service(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, f"BANYAN_{name.upper()}_DB": str(self.folder / f"{name}.sqlite3")}
        command = python("-m", f"services.{name}", *arguments)
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def follow(self, name: str) -> Running:
        log = self.folder / f"{name}-follow.log"
        log.unlink(missing_ok=True)
        running = start(
            f"{name}-follow",
            python("-m", f"services.{name}", "follow", "--nats", self.nats.url),
            log_dir=self.folder,
            env={f"BANYAN_{name.upper()}_DB": str(self.folder / f"{name}.sqlite3")},
            ready=lambda running: "running" in log.read_text(),
        )
        self.others.append(running)
        return running

    def relay(self, store: str, name: str) -> Running:
        command = python("-m", "events", "relay", "--store", store, "--nats", self.nats.url)
        log = self.folder / f"{name}.log"
        running = start(name, command, log_dir=self.folder, ready=lambda running: "running" in log.read_text())
        self.others.append(running)
        return running

    def shop_review(self, user: str, item: int, rating: int = 4) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.shop.url}/api/v1/reviews/",
            json={"item": item, "rating": rating, "title": "From the shop", "body": "Ünï"},
            headers={"Authorization": f"Token {token(user)}"},
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def service_review(self, user: int, item: int, rating: int = 5) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.reviews.url}/api/v1/reviews/",
            json={"item": item, "rating": rating, "title": "From the service", "body": "It is new."},
            headers=stamp("reviews", str(user)),
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def drift(self, name: str) -> list[dict[str, Any]]:
        told = self.service(name, "check", "--from", self.shop.database, "--settle", "1", "--json")
        assert told.stdout, told.stderr
        found = json.loads(told.stdout)
        assert found["equal"] == (told.returncode == 0)
        return [drift for drift in found["drift"] if drift["missing"] or drift["extra"] or drift["different"]]

    def manage(self, *arguments: str) -> str:
        return manage_shop(self.folder, *arguments, database=self.shop.database)

    def events(self) -> list[Event]:
        return asyncio.run(in_stream(self.nats.url))


def stamp(audience: str, user: str = "3") -> dict[str, str]:
    caller = Caller(user, "s", {"username": f"user{int(user):02}"}, standing=Standing.KNOWN)
    line = Stamps(KEY.sign, KEY.kid, "banyan", 60).field(caller, audience, time.time())
    return {"Banyan-Identity": line.partition(b": ")[2].decode()}


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    nats = start_nats(tmp_path / "nats")
    shop = start_shop(tmp_path, workers=1)
    reviews = start_reviews(tmp_path, shop, stamp_key=SECRET)
    view = start_product_view(tmp_path, shop)
    found = World(tmp_path, shop, reviews, view, nats, [])
    yield found
    for running in (*found.others, view, reviews, shop):
        running.stop()
    nats.stop()


def unreviewed(world: World, user: int) -> Iterator[int]:
    """Items that this user has not reviewed."""
    with closing(sqlite3.connect(world.folder / "shop.sqlite3")) as connection:
        rows = connection.execute(
            "SELECT id FROM items_item WHERE id NOT IN (SELECT item_id FROM reviews_review WHERE user_id = ?) ORDER BY id", (user,)
        ).fetchall()
    return iter([row[0] for row in rows])


def test_the_shop_s_changes_come_to_the_services_and_theirs_to_the_shop(world: World) -> None:
    assert world.service("reviews", "import", "--from", world.shop.database, "--outbox", "--nats", world.nats.url).returncode == 0
    world.relay(world.shop.database, "shop-relay")
    world.relay(f"sqlite:///{world.folder / 'reviews.sqlite3'}", "reviews-relay")
    world.follow("reviews")
    world.follow("product_view")
    following = start(
        "shop-follow",
        python("legacy_django/manage.py", "follow", "--nats", world.nats.url),
        log_dir=world.folder,
        env={"DJANGO_SETTINGS_MODULE": "legacy_django.settings", "BANYAN_SHOP_VAR": str(world.folder), "DATABASE_URL": world.shop.database},
        ready=lambda running: "running" in running.log.read_text(),
    )
    world.others.append(following)

    item = next(unreviewed(world, 1))
    before = httpx.get(f"{world.view.url}/api/v1/product-view/{item}")
    made = world.shop_review("user01", item)
    url = f"{world.reviews.url}/api/v1/reviews/{made['id']}"
    until(lambda: httpx.get(url, headers=stamp("reviews")).status_code == 200)
    assert httpx.get(url, headers=stamp("reviews")).json() == made

    # The view has it, says since when, and has another tag.
    def viewed() -> dict[str, Any]:
        return dict(httpx.get(f"{world.view.url}/api/v1/product-view/{item}").json())

    until(lambda: viewed()["reviews"]["count"] == before.json()["reviews"]["count"] + 1)
    after = httpx.get(f"{world.view.url}/api/v1/product-view/{item}")
    assert after.headers["etag"] != before.headers["etag"]
    changed = {part for part, when in after.json()["as_of"].items() if when != before.json()["as_of"][part]}
    assert changed == {"reviews"}

    # An order takes stock, which the view shows; the order is told itself, with its lines.
    option = viewed()["options"][0]
    answer = httpx.post(
        f"{world.shop.url}/api/v1/orders/",
        json={"lines": [{"option": option["id"], "quantity": 2}]},
        headers={"Authorization": f"Token {token('user01')}"},
    )
    assert answer.status_code == 201, answer.text
    until(lambda: viewed()["options"][0]["stock"] == option["stock"] - 2)
    [placed] = [one for one in world.events() if one.type == "shop.order.placed"]
    assert placed.key == f"order-{answer.json()['id']}"
    assert [(line["option"], line["quantity"]) for line in placed.data["lines"]] == [(option["id"], 2)]

    # And the other way: the service's word is the shop's, with the same number, and comes round to nobody twice.
    items = unreviewed(world, 3)
    told = world.service_review(3, next(items))
    assert told["id"] > 2**30
    until(lambda: httpx.get(f"{world.shop.url}/api/v1/reviews/{told['id']}").status_code == 200)
    assert httpx.get(f"{world.shop.url}/api/v1/reviews/{told['id']}").json() == told
    # One user, one item, and both have been told something: the shop's stays.
    both = next(items)
    first = world.shop_review("user03", both, rating=1)
    try:
        world.service_review(3, both, rating=5)
    except AssertionError:
        pass  # the shop's word was here already
    until(lambda: not world.drift("reviews"))
    assert not world.drift("product_view")
    kept = httpx.get(f"{world.reviews.url}/api/v1/reviews/{first['id']}", headers=stamp("reviews"))
    assert kept.json() == first

    # Of a user whom the shop does not know, it cannot keep a review. It is parked, and no other waits for it. It can be given up.
    forgotten = world.service_review(4712, item)
    until(lambda: f"review-{forgotten['id']}  UnfitError" in world.manage("follow", "--parked"))
    number = world.manage("follow", "--parked").split()[0]
    assert world.manage("follow", "--discard", number).strip() == f"given up: {number}"
    assert world.manage("follow", "--parked") == ""
    stranger = world.service_review(4711, item)
    until(lambda: bool(world.manage("follow", "--parked")))
    assert f"review-{stranger['id']}  UnfitError" in world.manage("follow", "--parked")
    other = world.service_review(3, next(items))
    until(lambda: httpx.get(f"{world.shop.url}/api/v1/reviews/{other['id']}").status_code == 200)
    with closing(sqlite3.connect(world.folder / "shop.sqlite3", timeout=10)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(auth_user)") if row[1] not in ("id", "username")]
        connection.execute(
            f"INSERT INTO auth_user (id, username, {', '.join(columns)}) SELECT 4711, 'user4711', {', '.join(columns)}"  # noqa: S608
            " FROM auth_user WHERE id = 3"
        )
        connection.commit()
    number = world.manage("follow", "--parked").split()[0]
    assert world.manage("follow", "--redrive", "--event", "unheard-of").startswith("0 took effect, 0 are parked")
    assert world.manage("follow", "--redrive", "--event", number).startswith("1 took effect, 0 are parked")
    assert httpx.get(f"{world.shop.url}/api/v1/reviews/{stranger['id']}").json() == stranger
    until(lambda: not world.drift("product_view"))

    settled = world.events()
    origins = [(one.source, one.origin) for one in settled if one.data.get("id") == told["id"]]
    assert origins == [("reviews", "reviews"), ("shop", "reviews")], "told once, taken over once, and no more"
    time.sleep(1)
    assert len(world.events()) == len(settled), "nothing goes round"


def test_a_copy_that_is_made_while_things_happen_has_no_gap_and_no_double(world: World) -> None:
    world.relay(world.shop.database, "shop-relay")
    churn = start(
        "churn",
        python("legacy_django/manage.py", "churn", "--events", "900", "--rate", "300"),
        log_dir=world.folder,
        env={"DJANGO_SETTINGS_MODULE": "legacy_django.settings", "BANYAN_SHOP_VAR": str(world.folder), "DATABASE_URL": world.shop.database},
    )
    world.others.append(churn)
    until(lambda: len(world_events(world)) > 30)
    for name in ("reviews", "product_view"):
        assert world.service(name, "import", "--from", world.shop.database, "--nats", world.nats.url).returncode == 0
    running = [world.follow(name) for name in ("reviews", "product_view")]
    for one in running:  # and they die, and begin again
        time.sleep(0.3)
        one.kill()
    for name in ("reviews", "product_view"):
        world.follow(name)
    # One is filled anew under those who follow.
    assert world.service("product_view", "import", "--from", world.shop.database).returncode == 0
    assert churn.process.wait(60) == 0, churn.tail()
    until(lambda: not world.drift("reviews") and not world.drift("product_view"), 60)
    for item in (1, 50, 120, 200):
        view = httpx.get(f"{world.view.url}/api/v1/product-view/{item}").json()
        live = httpx.get(f"{world.shop.url}/api/v1/product-view/{item}").json()
        assert view.pop("as_of").keys() == live.pop("as_of").keys()
        assert view == live
    assert world.service("reviews", "parked").stdout == ""
    assert world.service("product_view", "parked").stdout == ""


def world_events(world: World) -> list[Event]:
    try:
        return world.events()
    except Exception:  # the stream is not there before the relay has made it
        return []


def test_the_check_tells_what_has_drifted(world: World) -> None:
    assert world.drift("reviews") == []
    with closing(sqlite3.connect(world.folder / "reviews.sqlite3", timeout=10)) as connection:
        connection.execute("DELETE FROM reviews WHERE id = 17")
        connection.execute("UPDATE reviews SET rating = 6 - rating, title = 'x' WHERE id = 18")
        connection.execute("INSERT INTO items VALUES (999)")
        connection.commit()
    found = {drift["table"]: drift["rows"] for drift in world.drift("reviews")}
    assert found == {
        "reviews": {"missing": [17], "extra": [], "different": [18]},
        "items": {"missing": [], "extra": [999], "different": []},
    }
    told = world.service("reviews", "check", "--from", world.shop.database, "--settle", "0.1")
    assert told.returncode == 1
    assert "1 missing (17); 1 different (18)" in told.stderr


def test_an_event_without_a_transaction_is_refused(tmp_path: Path) -> None:
    manage_shop(tmp_path, "migrate", "-v0")
    script = (
        "import django; django.setup()\n"
        "from django.db import transaction\n"
        "from legacy_django.outbox.emitting import emit, OutsideTransactionError\n"
        "from legacy_django.outbox.models import Event\n"
        "try:\n    emit('shop.x.y', 'x-1', {})\n    raise SystemExit('it was taken')\n"
        "except OutsideTransactionError: pass\n"
        "try:\n    with transaction.atomic():\n        emit('shop.x.y', 'x-1', {}); raise KeyError\n"
        "except KeyError: pass\n"
        "assert not Event.objects.exists()\n"
        "for key, data in (('x' * 121, {}), ('', {}), ('x-1', {'a': 'x' * 300_000})):\n"
        "    try:\n        with transaction.atomic(): emit('shop.x.y', key, data)\n        raise SystemExit('it was taken')\n"
        "    except ValueError: pass\n"
        "with transaction.atomic(): emit('shop.x.y', 'x-1', {'a': 1})\n"
        "assert Event.objects.get().key == 'x-1'\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "legacy_django.settings", "BANYAN_SHOP_VAR": str(tmp_path)}
    environment["DATABASE_URL"] = f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    done = subprocess.run(python("-c", script), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
