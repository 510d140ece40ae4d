"""Many exchanges through JetStream, with a shadow worker killed twice: what was captured is what was counted, to the last one.

`make soak` sends 200,000 of them, the ordinary suite a few thousand by the same code. The edge's part is played by this process, on the
shipper's own socket, as fast as there is room for.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError
from shadow.exchange import Exchange
from tests.support.nats import Nats, start_nats
from tests.support.required import missing
from tests.support.shipping import Shop, pair, wait_for
from tests.support.soak import SOAK, note

EXCHANGES = 200_000 if SOAK else 3_000
KILLS = 2 if SOAK else 1
CHUNK = 500
UNDER_WAY = 12_000
"""Sent, and not counted yet: fewer than the shipper has room for, so that nothing is dropped and every outcome is known."""
SECONDS = 1800.0 if SOAK else 60.0
MORE = """
max_bytes = "64MiB"
max_message = "256KiB"
ack_wait = "2s"
"""


pytestmark = pytest.mark.timeout(2 * SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def nats(folder: Path) -> Iterator[Nats]:
    server = start_nats(folder / "nats")
    yield server
    server.stop()


def exchanges(number: int, seed: int = 7) -> Iterator[tuple[Exchange, str]]:
    """Exchanges, and under what each is counted in the end."""
    chance = random.Random(seed)
    for at in range(number):
        body = {"id": at, "name": f"thing {at}", "tags": ["a", "b"], "price": at / 100}
        draw = chance.random()
        if draw < 0.6:
            yield pair(body, body), "matched"
        elif draw < 0.7:
            yield pair(body, dict(reversed(body.items()))), "matched"
        elif draw < 0.9:
            yield pair(body, {**body, "price": str(at)}), "mismatched"
        elif draw < 0.95:
            yield pair(body, b"", skipped="too_large"), "skipped.too_large"
        elif draw < 0.99:
            yield pair(body, {**body, "id": -1}, kind="noise"), "noise.different"
        else:
            yield pair({**body, "text": "x" * 80_000}, {**body, "text": "y" * 80_000}), "mismatched"


def soak(shop: Shop) -> None:
    """Sends, kills, waits, reconciles."""
    shop.start_shipper()
    workers = [shop.start_worker(wait=False), shop.start_worker(wait=False)]
    wait_for(lambda: all("taking from" in worker.log.read_text() for worker in workers), shop)
    expected: Counter[str] = Counter()
    began = time.monotonic()
    sent = threading.Event()

    def send() -> None:
        batch: list[Exchange] = []
        for at, (exchange, outcome) in enumerate(exchanges(EXCHANGES), 1):
            expected[outcome] += 1
            batch.append(exchange)
            if len(batch) == CHUNK or at == EXCHANGES:
                shop.send(batch, captured=sum(each.kind == "pair" for each in batch))
                batch = []
                while at - shop.accounted() - expected["noise.different"] > UNDER_WAY:
                    time.sleep(0.1)
        sent.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for number in range(KILLS):
        # Once some are counted and others are under way, whatever the machine's speed.
        goal = EXCHANGES * (number + 1) // (KILLS + 2)
        wait_for(lambda goal=goal: shop.accounted() >= goal, shop, SECONDS)  # type: ignore[misc]  # a lambda with a default
        workers[0].kill()
        workers[0] = shop.start_worker()
    sender.join(SECONDS)
    assert sent.is_set()
    pairs = EXCHANGES - expected["noise.different"]
    wait_for(lambda: shop.counted().get("captured") == pairs and shop.accounted() >= pairs, shop, SECONDS)
    wait_for(lambda: shop.waiting() == 0, shop, SECONDS)
    took = time.monotonic() - began
    assert [worker.stop(30) for worker in workers] == [0, 0]
    found = shop.counted()
    print(f"\nsoak: {EXCHANGES} exchanges in {took:.0f} s, {KILLS} kills; counted {found}; messages {shop.messages()[1]}")
    assert found["captured"] == pairs
    combined = sum(number for name, number in found.items() if name.startswith("combination."))
    assert combined == expected["mismatched"], "each that differs is counted under what it showed, once"
    besides = ("captured", "eligible", "noise.pairs")
    outcomes = {name: number for name, number in found.items() if name not in besides and not name.startswith("combination.")}
    assert outcomes == dict(expected)
    assert found["noise.pairs"] == expected["noise.different"]
    assert shop.reconciled() == {
        "captured": pairs,
        "compared": expected["matched"] + expected["mismatched"],
        "skipped": {"too_large": expected["skipped.too_large"]},
        "dropped": {},
        "missing": 0,
        "adds_up": True,
    }
    note(f"{EXCHANGES:,} exchanges through NATS in {took:.0f} s, a shadow worker killed {KILLS} times: every one counted once")


def test_counts_reconcile_exactly_in_sqlite(folder: Path, nats: Nats) -> None:
    shop = Shop(folder, nats, more=MORE)
    try:
        soak(shop)
    finally:
        shop.stop()


def test_counts_reconcile_exactly_in_postgresql(folder: Path, nats: Nats) -> None:
    try:
        server = start_postgres(folder)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    try:
        shop = Shop(folder, nats, server.url, more=MORE)
        try:
            soak(shop)
        finally:
            shop.stop()
    finally:
        server.stop()
