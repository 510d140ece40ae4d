"""The real shipper, a real NATS, real shadow workers, a real database: whatever ends or stands still, what was captured is counted once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js import JetStreamContext, api

from demo.processes import start
from shadow.broker import Broker, Place, ensure_stream
from shadow.exchange import Exchange
from shadow.pack import COUNTS_HEADER, FORMAT_HEADER, ID_HEADER
from shadow.sinks import Status
from shadow.sinks.status import read_status
from tests.support.certificates import Authority
from tests.support.hostile import HOSTILE
from tests.support.nats import Deaf, Nats, start_nats
from tests.support.shipping import Shop, pair, wait_for

FAST = 'ack_wait = "1s"\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path may have about 100 characters: pytest's own folders can be longer.
    path = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture
def own_nats(folder: Path) -> Iterator[Nats]:
    """One that the test may end."""
    server = start_nats(folder / "nats")
    yield server
    server.stop()


@pytest.fixture
def shop(folder: Path, nats: Nats) -> Iterator[Shop]:
    made = Shop(folder, nats, more=FAST)
    yield made
    made.stop()


def some(number: int, begin: int = 0) -> list[Exchange]:
    """Half of them differ."""
    return [pair({"n": n}, {"n": n if n % 2 else str(n)}) for n in range(begin, begin + number)]


def complete(shop: Shop, number: int) -> bool:
    return shop.counted().get("captured") == number and shop.accounted() == number


def test_the_whole_way(shop: Shop) -> None:
    shop.start_shipper()
    port = free_port()
    worker = shop.start_worker("--metrics", f"127.0.0.1:{port}")
    shop.send([pair({"a": 1}, {"a": 1}), pair({"a": 1}, {"a": 2}), pair({"a": 1}, {"a": 2}, kind="noise")], captured=2)
    wait_for(lambda: complete(shop, 2), shop)
    found = shop.counted()
    assert (found["matched"], found["mismatched"], found["noise.pairs"], found["noise.different"]) == (1, 1, 1, 1)
    status = read_status(shop.socket)
    assert status is not None
    wait_for(lambda: (read_status(shop.socket) or status).shipped == 3, shop)
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    for line in (
        'banyan_shadow_worker_exchanges_total{outcome="compared"} 3.0',
        'banyan_shadow_worker_connected{to="nats"} 1.0',
        'banyan_shadow_worker_connected{to="database"} 1.0',
        "banyan_shadow_stream_messages_waiting 0.0",
    ):
        assert line in told
    assert worker.stop(20) == 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_no_secret_reaches_the_stream(shop: Shop) -> None:
    shop.start_shipper()
    shop.send(
        [
            pair({"email": "me@example.test", "card": "4111 1111 1111 1111"}, {"email": "you@example.test"}),
            pair({"text": "x" * 900_000, "password": "hunter2"}, {"text": "y" * 900_000, "password": "hunter3"}),
        ],
        captured=2,
    )
    wait_for(lambda: shop.waiting() >= 2, shop)
    stored = b"".join(path.read_bytes() for path in (shop.nats.folder / "store").rglob("*") if path.is_file())
    assert shop.stream.encode() in stored
    for secret in (b"me@example", b"me%40x", b"4111", b"hunter2"):
        assert secret not in stored  # compressed, so this alone would say little: tests/shadow/test_sealing.py looks inside
    shop.start_worker()
    wait_for(lambda: complete(shop, 2), shop)
    assert shop.counted()["mismatched"] == 2
    rows = (shop.folder / "var" / "banyan.sqlite3").read_bytes()
    assert b"hunter2" not in rows
    assert b"example.test" not in rows


def test_a_worker_that_dies_between_commit_and_acknowledgement_is_not_counted_twice(shop: Shop) -> None:
    shop.start_shipper()
    dying = start("dying", [sys.executable, "-m", "tests.support.dying_worker", str(shop.config)], log_dir=shop.folder)
    shop.running.append(dying)
    shop.send(some(40), captured=40)
    wait_for(lambda: not dying.alive(), shop)
    assert dying.process.returncode == -signal.SIGKILL
    before = shop.accounted()
    assert shop.waiting() > 0, "it was committed, and never acknowledged"
    worker = shop.start_worker()
    wait_for(lambda: shop.waiting() == 0 and complete(shop, 40), shop)
    assert shop.counted()["matched"] == 20
    assert before <= 40
    assert worker.stop(20) == 0


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(folder: Path, own_nats: Nats) -> None:
    shop = Shop(folder, own_nats, more=FAST)
    try:
        shop.start_shipper()
        shop.start_worker()
        shop.send(some(100), captured=100)
        wait_for(lambda: shop.accounted() > 0, shop)
        own_nats.kill()
        shop.send(some(100, 100), captured=100)
        wait_for(lambda: shop.log().count("NATS can't be used") == 2, shop)
        wait_for(lambda: status(shop) is False, shop)
        shop.send(some(100, 200), captured=100)
        own_nats.restart()
        wait_for(lambda: complete(shop, 300), shop, 60)
        assert (shop.counted()["matched"], shop.counted()["mismatched"]) == (150, 150)
        assert shop.log().count("NATS can't be used") == 2, "said once, by each of the two"
        wait_for(lambda: shop.log().count("NATS can be used again") == 2, shop)
        assert shop.reconciled()["adds_up"]
    finally:
        shop.stop()


def status(shop: Shop) -> bool | None:
    found = read_status(shop.socket)
    return found.connected if found is not None else None


def test_a_broker_that_is_away_at_the_start_is_waited_for_and_what_has_no_room_is_counted(folder: Path, own_nats: Nats) -> None:
    own_nats.kill()
    shop = Shop(folder, own_nats, more=FAST + "buffer = 50\n")
    try:
        shop.start_shipper()
        shop.start_worker(wait=False)
        shop.send(some(200), captured=200)
        wait_for(lambda: (read_status(shop.socket) is not None) and dropped(shop).get("broker_away") == 150, shop)
        own_nats.restart()
        wait_for(lambda: complete(shop, 200), shop, 60)
        assert shop.counted()["dropped.broker_away"] == 150
        assert shop.reconciled()["dropped"] == {"broker_away": 150}
    finally:
        shop.stop()


def dropped(shop: Shop) -> dict[str, int]:
    found = read_status(shop.socket)
    return found.dropped.get("reviews", {}) if found is not None else {}


def test_a_full_stream_refuses_and_loses_nothing_that_it_has(shop: Shop) -> None:
    # Nothing compresses well here, so that the stream fills: 300 kB of it, in exchanges of about 8 kB.
    text = shop.config.read_text().replace(
        "[shadow.jetstream]", '[shadow.jetstream]\nmax_bytes = "300KiB"\nmax_message = "64KiB"\nbuffer = 20'
    )
    shop.config.write_text(text)
    shop.start_shipper()
    shop.send([pair({"n": os.urandom(3000).hex()}, {"n": os.urandom(3000).hex()}) for _ in range(300)], captured=300)
    wait_for(lambda: dropped(shop).get("broker_full", 0) > 0, shop)
    assert "is full: are there shadow workers?" in shop.log()
    time.sleep(1)
    kept = shop.messages()
    shop.start_worker()
    wait_for(lambda: complete(shop, 300), shop, 60)
    found = shop.counted()
    assert found["dropped.broker_full"] > 50
    assert found["mismatched"] > 20
    assert kept[0] == kept[1], "the stream had thrown nothing away"
    assert shop.reconciled()["adds_up"]


def test_what_nats_has_no_room_for_in_one_message_goes_in_several_or_is_counted(folder: Path) -> None:
    server = start_nats(folder / "nats", "max_payload: 65536")
    try:
        shop = Shop(folder, server, more=FAST)
        try:
            shop.start_shipper()
            shop.start_worker()
            small = [pair({"n": os.urandom(4000).hex()}, {"n": os.urandom(4000).hex()}) for _ in range(40)]
            large = pair({"n": os.urandom(30_000).hex()}, {"n": os.urandom(90_000).hex()})
            shop.send([*small, large], captured=41)
            wait_for(lambda: complete(shop, 41), shop)
            assert (shop.counted()["mismatched"], shop.counted()["dropped.broker_refused"]) == (40, 1)
            assert "is over NATS' max_payload of 65536: raise that" in shop.log()
        finally:
            shop.stop()
    finally:
        server.stop()


def test_a_nats_without_jetstream_is_told_as_such(folder: Path) -> None:
    server = start_nats(folder / "nats", jetstream=False)
    try:
        shop = Shop(folder, server)
        try:
            shop.start_worker(wait=False)
            wait_for(lambda: "trying on: it has no JetStream" in shop.log(), shop)
        finally:
            shop.stop()
    finally:
        server.stop()


def test_a_shipper_that_ends_while_the_broker_is_away_leaves_its_counts_to_the_next(folder: Path, own_nats: Nats) -> None:
    shop = Shop(folder, own_nats, more=FAST)
    try:
        first = shop.start_shipper()
        shop.send(some(10), captured=10)
        wait_for(lambda: shop.waiting() > 0 and (read_status(shop.socket) or Status()).shipped == 10, shop)
        own_nats.kill()
        shop.send(some(20, 10), captured=20)
        wait_for(lambda: status(shop) is False, shop)
        assert first.stop(15) == 0, first.tail()
        (left,) = (folder / "var").glob("unsent-*")
        assert left.stat().st_mode & 0o777 == 0o600
        own_nats.restart()
        shop.start_shipper()
        shop.start_worker()
        wait_for(lambda: complete(shop, 30), shop, 60)
        assert shop.counted()["dropped.shipper_stopped"] == 20
        wait_for(lambda: not left.exists(), shop)
    finally:
        shop.stop()


def test_acknowledgements_that_are_lost_cost_a_second_message_and_no_second_count(folder: Path, nats: Nats) -> None:
    way = Deaf(nats.port)
    shop = Shop(folder, nats, more=FAST, url=way.url)
    try:
        first = shop.start_shipper()
        shop.send(some(10), captured=10)
        wait_for(lambda: (read_status(shop.socket) or Status()).shipped == 10, shop)
        way.on = True
        before = shop.messages()[1]
        shop.send(some(10, 10), captured=10)
        wait_for(lambda: shop.messages()[1] > before, shop)  # it has arrived, and the shipper does not hear of that
        wait_for(lambda: "NATS can't be used" in shop.log(), shop, 40)
        way.on = False
        wait_for(lambda: (read_status(shop.socket) or Status()).shipped == 20, shop, 40)
        assert (read_status(shop.socket) or Status()).repeated > 0
        # And in doubt to the end: what is left to the next shipper is the loss of exchanges that are there.
        way.on = True
        before = shop.messages()[1]
        shop.send(some(10, 20), captured=10)
        wait_for(lambda: shop.messages()[1] > before, shop)
        assert first.stop(15) == 0
        assert list((folder / "var").glob("unsent-*"))
        way.on = False
        shop.start_shipper()
        shop.start_worker()
        wait_for(lambda: complete(shop, 30) and not list((folder / "var").glob("unsent-*")), shop, 60)
        assert "dropped.shipper_stopped" not in shop.counted()
        assert (shop.counted()["matched"], shop.counted()["mismatched"]) == (15, 15)
    finally:
        shop.stop()
        way.stop()


def test_of_several_servers_one_is_enough(nats: Nats) -> None:
    async def connect(*servers: str) -> None:
        place = Place(servers, "SEVERAL", 1024**2, 1, 1.0)
        broker = Broker(place, "test")
        broker.start(lambda stream: ensure_stream(stream, place))
        try:
            async with asyncio.timeout(30):
                await broker.usable.wait()
            assert (await broker.stream.stream_info("SEVERAL")).config.max_bytes == 1024**2
        finally:
            await broker.close()

    dead = f"nats://127.0.0.1:{free_port()}"
    asyncio.run(connect(dead, nats.url))
    asyncio.run(connect(nats.url, dead))


def test_the_streams_limits_follow_the_configuration_and_refuse_instead_of_discarding(nats: Nats) -> None:
    async def made(max_bytes: int) -> api.StreamConfig:
        place = Place((nats.url,), "LIMITS", max_bytes, 1, 1.0)
        broker = Broker(place, "test")
        broker.start(lambda stream: ensure_stream(stream, place))
        try:
            async with asyncio.timeout(30):
                await broker.usable.wait()
            return (await broker.stream.stream_info("LIMITS")).config
        finally:
            await broker.close()

    for max_bytes in (1024**2, 2 * 1024**2, 2 * 1024**2):
        found = asyncio.run(made(max_bytes))
        assert (found.max_bytes, found.discard, found.retention, found.max_age or 0) == (max_bytes, "new", "workqueue", 0)


def test_tls_believes_the_authority_that_is_named_and_no_other(folder: Path) -> None:
    folder.joinpath("nats").mkdir()
    authority = Authority(folder)
    certificate, key = authority.issue("server", "127.0.0.1")
    server = start_nats(folder / "nats", f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}')
    try:
        url = server.url.replace("nats:", "tls:")
        shop = Shop(folder, server, more=FAST + f'ca = "{authority.ca.name}"\n', url=url)
        try:
            shop.start_shipper()
            shop.start_worker()
            shop.send(some(4), captured=4)
            wait_for(lambda: complete(shop, 4), shop)
            other = Authority(folder, "other")
            shop.config.write_text(shop.config.read_text().replace(authority.ca.name, other.ca.name))
            refused = shop.start_worker(wait=False)
            wait_for(lambda: "NATS can't be used" in refused.log.read_text(), shop)
            assert "certificate verify failed" in refused.log.read_text()
            shop.config.write_text(shop.config.read_text().replace(other.ca.name, "nowhere.pem"))
            assert "shadow.jetstream.ca: " in check(shop.config)
            (folder / "nowhere.pem").write_text("nothing")
            assert "holds no certificate in PEM" in check(shop.config)
        finally:
            shop.stop()
    finally:
        server.stop()


def check(config: Path) -> str:
    """What `banyan check` says against it."""
    command = [sys.executable, "-m", "gateway.cli", "check", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    return done.stderr


def test_what_is_no_pack_is_counted_and_does_not_come_back(shop: Shop) -> None:
    shop.start_shipper()
    shop.send(some(10), captured=10)
    wait_for(lambda: shop.waiting() > 0, shop)

    async def spoil(stream: JetStreamContext) -> None:
        fields = {FORMAT_HEADER: "1", COUNTS_HEADER: json.dumps({"reviews": [4, 2]}), ID_HEADER: "other-1"}
        await stream.publish(f"{shop.stream}.packs", b"garbage", headers=fields)
        await stream.publish(f"{shop.stream}.packs", b"garbage", headers={**fields, ID_HEADER: "other-2", FORMAT_HEADER: "99"})
        await stream.publish(f"{shop.stream}.packs", b"")

    shop.nats.ask(spoil)
    shop.start_worker()
    wait_for(lambda: shop.waiting() == 0 and shop.counted().get("matched") == 5, shop)
    found = shop.counted()
    assert (found["dropped.unreadable"], found["noise.dropped"]) == (8, 4)
    assert shop.counted("")["dropped.unreadable"] == 1
    assert shop.log().count("is not counted but as lost") == 3


def test_what_is_given_back_again_and_again_is_compared_all_the_same(shop: Shop) -> None:
    """By workers that were told to end while the database was away, for instance: that says nothing against what they held."""
    shop.start_shipper()
    shop.send(some(2), captured=2)
    wait_for(lambda: shop.waiting() >= 2, shop)  # the exchanges, and the counts

    async def give_back(stream: JetStreamContext) -> None:
        await stream.add_consumer(shop.stream, api.ConsumerConfig(durable_name="shadow", ack_policy=api.AckPolicy.EXPLICIT, ack_wait=1.0))
        subscription = await stream.pull_subscribe_bind("shadow", shop.stream)
        for _ in range(30):
            (message,) = await subscription.fetch(1, timeout=5)
            await message.nak()

    shop.nats.ask(give_back)
    shop.start_worker()
    wait_for(lambda: shop.waiting() == 0 and complete(shop, 2), shop)
    assert (shop.counted()["matched"], shop.counted()["mismatched"]) == (1, 1)


def test_hostile_bodies_hold_up_nobody_and_each_ends_in_a_verdict(shop: Shop) -> None:
    """Whole ones are compared by the shipper, as they are over `max_message`; what is cut from them goes to the worker."""
    shop.start_shipper()
    worker = shop.start_worker()
    hostile = []
    for head, body in HOSTILE.values():
        for part in (body, body[:300_000]):
            changed = bytearray(part)
            changed[len(part) // 2] ^= 1
            if 2 * len(part) < 15_000_000:  # an edge worker's `capture` is far below
                hostile.append(pair(part, bytes(changed), head=head))
    shop.send([*hostile, *some(100)], captured=len(hostile) + 100)
    wait_for(lambda: shop.accounted() >= 100, shop, 60)
    wait_for(lambda: complete(shop, len(hostile) + 100), shop, 300)
    assert shop.counted()["matched"] + shop.counted()["mismatched"] == len(hostile) + 100
    assert shop.reconciled()["adds_up"]
    wait_for(lambda: shop.waiting() == 0, shop)
    assert worker.alive()
    assert worker.stop(20) == 0


def test_a_shipper_that_ends_with_slow_ones_in_hand_counts_each_once(shop: Shop) -> None:
    first = shop.start_shipper()
    head, body = HOSTILE["a million empty lists"]
    slow = [pair(body, body[:-2] + b"%d]" % number, head=head) for number in range(1, 9)]
    shop.send([*slow, *some(20)], captured=28)
    wait_for(lambda: shop.waiting() > 0, shop)
    first.stop(20)
    shop.start_shipper()  # sends what the first could not, should there be anything
    shop.start_worker()
    wait_for(lambda: complete(shop, 28), shop, 60)
    found = shop.counted()
    assert found["matched"] + found["mismatched"] + found.get("dropped.shipper_stopped", 0) == 28
    assert found["matched"] + found["mismatched"] >= 20
    assert shop.reconciled()["adds_up"]


def test_what_waited_too_long_is_counted_as_expired(folder: Path, nats: Nats) -> None:
    shop = Shop(folder, nats, more='max_age = "1s"\n')
    try:
        shop.start_shipper()
        shop.send([*some(10), pair({"a": 1}, {"a": 1}, kind="noise")], captured=10)
        wait_for(lambda: shop.waiting() > 1, shop)
        time.sleep(1.2)
        shop.start_worker()
        wait_for(lambda: complete(shop, 10), shop)
        # Equal bytes were told by the shipper: there is nothing left to compare, so they count.
        assert (shop.counted()["dropped.expired"], shop.counted()["matched"]) == (5, 5)
    finally:
        shop.stop()


def test_a_database_that_is_away_keeps_everything_in_the_stream(shop: Shop) -> None:
    shop.start_shipper()
    var = shop.folder / "var"
    wait_for(var.exists, shop)
    (var / "banyan.sqlite3").mkdir()
    refused = shop.start_worker(wait=False)
    refused.process.wait(30)
    assert refused.process.returncode == 2, "it says so, and does not pretend to work"
    (var / "banyan.sqlite3").rmdir()
    worker = shop.start_worker()
    shop.send(some(10), captured=10)
    wait_for(lambda: complete(shop, 10), shop)
    # A lock that nobody lets go is a database that is away.
    holder = sqlite3.connect(var / "banyan.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    shop.send(some(10, 10), captured=10)
    wait_for(lambda: "the database can't be written" in shop.log(), shop, 40)
    assert shop.waiting() > 0
    holder.execute("ROLLBACK")
    holder.close()
    wait_for(lambda: complete(shop, 20) and shop.waiting() == 0, shop, 40)
    assert shop.log().count("the database can't be written") == 1
    assert worker.stop(20) == 0


def test_sigterm_gives_back_what_is_not_begun(shop: Shop) -> None:
    shop.start_shipper()
    shop.send([pair({"text": "x" * 100_000, "n": n}, {"text": "x" * 100_000, "n": str(n)}) for n in range(150)], captured=150)
    wait_for(lambda: shop.messages()[1] > 10, shop)
    worker = shop.start_worker()
    wait_for(lambda: shop.accounted() > 0, shop)
    assert worker.stop(20) == 0, worker.tail()
    before = shop.accounted()
    shop.start_worker()
    wait_for(lambda: complete(shop, 150), shop, 60)
    assert 0 < before <= 150


def test_a_frozen_broker_holds_up_nobody(folder: Path, own_nats: Nats) -> None:
    shop = Shop(folder, own_nats, more=FAST)
    try:
        shipper = shop.start_shipper()
        worker = shop.start_worker()
        shop.send(some(20), captured=20)
        wait_for(lambda: complete(shop, 20), shop)
        own_nats.freeze()
        for begin in range(20, 520, 50):
            shop.send(some(50, begin), captured=50)  # the shipper reads as ever, or this would time out
        own_nats.thaw()
        wait_for(lambda: complete(shop, 520), shop, 60)
        assert (shop.counted()["matched"], shop.counted()["mismatched"]) == (260, 260)
        assert shop.reconciled()["adds_up"]
        own_nats.freeze()
        for each in (shipper, worker):
            began = time.monotonic()
            each.stop(20)
            assert time.monotonic() - began < 19, f"{each.name} could not end"
    finally:
        shop.stop()


def test_credentials_are_used_and_never_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_PASSWORD", "open-sesame")
    server = start_nats(folder / "nats", 'authorization { user: "banyan", password: "open-sesame" }')
    try:
        shop = Shop(folder, server, more=FAST + 'user = "banyan"\npassword = "${NATS_PASSWORD}"\n')
        try:
            shop.start_shipper()
            shop.start_worker()
            shop.send(some(4), captured=4)
            wait_for(lambda: complete(shop, 4), shop)
            monkeypatch.setenv("NATS_PASSWORD", "wrong-sesame")
            other = shop.start_worker(wait=False)
            wait_for(lambda: "NATS can't be used" in other.log.read_text(), shop)
            assert other.stop(20) == 0
            assert "sesame" not in shop.log()
            assert re.search("uthorization", other.log.read_text())
        finally:
            shop.stop()
    finally:
        server.stop()


def test_a_shadow_worker_needs_jetstream(folder: Path) -> None:
    config = folder / "banyan.toml"
    config.write_text('[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "shadow", "--config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the gateway compares by itself" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
