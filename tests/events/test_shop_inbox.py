"""The shop's inbox on either database: what comes back from the reviews service takes effect once, and in the shop's own transaction."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from demo.processes import ROOT, python
from demo.shop import manage_shop, shop_environment

SCRIPT = """
import django; django.setup()
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from django.core.management import call_command
import events.inbox
from events.envelope import Event, decoded
from events.inbox import Delivery, Inbox, InboxError, MovedError
from legacy_django.outbox.models import Event as Row
from legacy_django.outbox.store import DjangoStore
from legacy_django.reviews.models import Review
from legacy_django.reviews.taking_back import take_back

pairs = set(Review.objects.values_list("item_id", "user_id"))
free = [(item, user) for item in range(1, 190) for user in range(1, 51) if (item, user) not in pairs]
taken = sorted(pairs)[0]

def event(number, item, user, identifier):
    data = dict(id=number, item=item, user=user, user_name="x", rating=4, title="T", body="B", reply=None, helpful=0,
                created_at="2026-01-31T09:05:00.120000Z")
    now, key = datetime.now(UTC), f"review-{number}"
    return Event(identifier, "reviews", "reviews.review.written", "review/1", now, key, number, "reviews", data)

def deliver(sequence, one):
    return Delivery(sequence, one.encoded())

inbox = Inbox(DjangoStore(), "shop", take_back, not_from="shop")
good = event(2**30 + 1, *free[0], "id-1")
applied = inbox.apply(0, 0, [deliver(10, good), deliver(11, good)])
assert len(applied.took_effect) == 1 and applied.skipped == {"repeated": 1}, applied
assert inbox.at(0) == 11
kept = Review.objects.get(pk=2**30 + 1)
assert (kept.item_id, kept.user_id) == free[0] and kept.created_at.microsecond == 120000
assert [(row.type, row.origin) for row in Row.objects.all()] == [("shop.review.written", "reviews")]

try:
    inbox.apply(0, 10, [deliver(12, good)])
    raise SystemExit("it began where it does not stand")
except MovedError:
    pass

# Nothing of a batch is kept if one of it fails; alone it is tried, and then parked.
bad, fine = event(2**30 + 2, 1, 999_999, "id-2"), event(2**30 + 3, *free[1], "id-3")
try:
    inbox.apply(0, 11, [deliver(12, fine), deliver(13, bad)])
    raise SystemExit("it was taken")
except ValueError:
    pass
assert inbox.at(0) == 11 and not Review.objects.filter(pk=2**30 + 3).exists()
inbox.apply(0, 11, [deliver(12, fine)])
while not inbox.exhausted(deliver(13, bad)):
    try:
        inbox.apply(0, 12, [deliver(13, bad)])
        raise SystemExit("it was taken")
    except ValueError as error:
        assert not isinstance(error, InboxError)
inbox.park(0, 12, deliver(13, bad), "no such user")
assert [one.event_id for one in inbox.parked()] == ["id-2"] and inbox.at(0) == 13
assert inbox.redrive() == (0, 1)
assert inbox.discard("id-2") and not inbox.parked()

# Who has reviewed it at the shop keeps that; the service is told to drop its own.
Row.objects.all().delete()
inbox.apply(0, 13, [deliver(14, event(2**30 + 4, *taken, "id-4"))])
assert [(row.type, row.key) for row in Row.objects.all()] == [("shop.review.deleted", f"review-{2**30 + 4}")]

# What a database won't store is parked too: what is no event, one whose id and key it refuses, and a reason with words of such a kind.
wrong = [good.encoded().replace(b'"id-1"', rb'"\\u0000"'), good.encoded().replace(b'"id-1"', rb'"\\ud800"'), b'{"specversion":"\\0']
applied = inbox.apply(0, 14, [Delivery(15 + number, body) for number, body in enumerate(wrong)])
assert applied.parked == 3 and [one.event_id for one in inbox.parked()] == ["stream-15", "stream-16", "stream-17"], inbox.parked()
inbox.park(0, 17, Delivery(18, wrong[0]), "because of \\0 and \\ud800")
assert inbox.parked()[-1].reason == "because of  and ?", inbox.parked()[-1]
events.inbox.decoded = lambda body: replace(good, id="\\ud800", key="a\\0")
inbox.park(0, 18, deliver(19, good), "it won't have it")
events.inbox.decoded = decoded
assert inbox.parked()[-1].event_id == "stream-19" and inbox.at(0) == 19
assert all(inbox.discard(f"stream-{number}") for number in range(15, 20))

# Which stream it follows is kept, and that somebody wants to follow another from its beginning.
store = inbox.identity()
assert not inbox.belongs("a", 18) and inbox.belongs("a", 19) and inbox.belongs("a", 19) and not inbox.belongs("b", 99)
assert not inbox.begins_here() and inbox.as_of(0) is not None
with suppress(SystemExit):
    call_command("follow", begin_here=True)
assert inbox.begins_here() and inbox.at(0) == 0 and inbox.as_of(0) is None and inbox.belongs("b", 1)
assert inbox.apply(0, 0, [deliver(1, good)]).skipped == {"repeated": 1}
assert inbox.identity() == store != ""

# The shop's own numbers go on from where they were, on PostgreSQL; in SQLite they begin behind, and are no other's either.
item, user = free[2]
own = Review.objects.create(item_id=item, user_id=user, rating=1, title="t", body="b")
assert not Review.objects.filter(pk=own.pk).exclude(item_id=item, user_id=user).exists()

# What the console shows as the command is one for a shell.
from legacy_django.management.commands.follow import redrive_command
assert redrive_command("a; rm -r x") == "python legacy_django/manage.py follow --redrive --event 'a; rm -r x'"
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_comes_back_takes_effect_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres") if kind == "postgres" else f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    manage_shop(tmp_path, "seed", database=url)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "legacy_django.settings",
        "BANYAN_SHOP_VAR": str(tmp_path),
        "DATABASE_URL": url,
    }
    done = subprocess.run(python("-c", SCRIPT), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_shop_without_the_tables_is_one_clear_line(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "postgres":
        url = request.getfixturevalue("postgres")
        url = f"{url}{'&' if '?' in url else '?'}options=-c%20search_path%3Dpg_catalog"
    else:
        url = f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    environment = {**os.environ, **shop_environment(tmp_path, url)}
    for what in (["--parked"], ["--redrive"], ["--discard", "id-1"]):
        command = python("legacy_django/manage.py", "follow", *what)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("follow: ")
        assert "event_parked" in done.stderr
        assert done.stderr.count("\n") == 1
    command = python("legacy_django/manage.py", "follow", "--event", "id-1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (2, "follow: --event goes with --redrive\n")
