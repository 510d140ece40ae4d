"""Payments while workers are killed and providers fail in every way: by three ledgers (clients', the gateway's, providers') nothing is paid
twice, nothing is lost, and what nobody knows is listed. `make soak` makes 4,000 of them, and kills sixty times."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.gateway import Exchange, Upstream
from tests.support.payments import Till, till
from tests.support.soak import SOAK, note

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300 if SOAK else 120)]
PAYMENTS = 4000 if SOAK else 160
AT_ONCE = 8
KILLS = 60 if SOAK else 4


class Provider:
    """Charges, or dies before or after it; what it does with a key is the same however often it comes."""

    def __init__(self, name: str, *, idempotent: bool) -> None:
        self.charges = Counter[str]()
        self.upstream = Upstream(self._serve)
        self._name = name
        self._idempotent = idempotent

    async def _serve(self, exchange: Exchange) -> None:
        (key,) = exchange.header("Idempotency-Key")
        fate = random.Random(f"{self._name} {key}").random()
        again = key in self.charges
        await asyncio.sleep(0.02)
        if fate < 0.05 and not again:
            exchange.reset()  # before it was charged
            if self._idempotent:
                self.charges[key] += 0  # the next time it is
            return
        if not (again and self._idempotent):
            self.charges[key] += 1
        elif not self.charges[key]:
            self.charges[key] = 1
        if 0.05 <= fate < 0.1 and not again:
            exchange.reset()
        elif 0.1 <= fate < 0.13 and not again:
            await exchange.answer(b"", "503 Service Unavailable")
        else:
            await exchange.answer(key.encode(), "201 Created")


async def pay(shop: Till, key: str) -> str:
    """As a client does it that repeats until it knows: paid, or in doubt."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await shop.pay(key)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)  # its worker was killed
                continue
            if answer.status == 201:
                assert answer.body == key.encode(), "somebody else's answer"
                return "paid"
            code = answer.header("Banyan-Error")
            if code == "in-doubt":
                return "in doubt"
            assert code in ("key-running", "ledger-unavailable", "outcome-unknown", "outcome-unknown-timeout"), answer.head
            await asyncio.sleep(0.1)


async def test_nothing_is_paid_twice_lost_or_forgotten(tmp_path: Path) -> None:
    providers = {"psp-a": Provider("psp-a", idempotent=True), "psp-b": Provider("psp-b", idempotent=False)}
    upstreams = {name: provider.upstream for name, provider in providers.items()}
    async with till(tmp_path, workers=2, idempotent=True, providers=upstreams) as shop:
        keys = asyncio.Queue[str]()
        for number in range(PAYMENTS):
            keys.put_nowait(f"order-{number}")
        outcomes: dict[str, str] = {}
        kills: list[int] = []

        async def customer() -> None:
            while not keys.empty():
                key = keys.get_nowait()
                outcomes[key] = await pay(shop, key)

        async def kill() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(0.7)
                for worker in (await asyncio.to_thread(shop.gateway.workers))[:1]:
                    os.kill(worker, signal.SIGKILL)
                    kills.append(worker)

        await asyncio.gather(kill(), *(customer() for _ in range(AT_ONCE)))
        doubts = {doubt.key: doubt for doubt in await asyncio.to_thread(shop.doubts)}
        assert len(outcomes) == PAYMENTS
        charged = Counter[str]()
        for provider in providers.values():
            charged.update(provider.charges)
        told = Counter(outcomes.values())
        note(
            f"payments while workers are killed and providers fail: {PAYMENTS:,}, {len(kills)} workers killed, {told['paid']:,} paid, "
            f"{told['in doubt']} in doubt and listed, {sum(count > 1 for count in charged.values())} paid twice"
        )
        assert max(charged.values()) == 1, "paid twice"
        assert {key for key, outcome in outcomes.items() if outcome == "paid"} <= {key for key, count in charged.items() if count}, "lost"
        assert {key for key, outcome in outcomes.items() if outcome == "in doubt"} == set(doubts)
        assert all(doubt.provider == "psp-b" for doubt in doubts.values()), "a provider that knows keys leaves no doubt to whoever repeats"
        assert Counter(outcomes.values())["paid"] > PAYMENTS / 2
        again = await asyncio.gather(*(shop.pay(key) for key, outcome in list(outcomes.items())[:40] if outcome == "paid"))
        assert {answer.header("Banyan-Replayed") for answer in again} == {"true"}
        assert doubts  # the providers see to that, by their keys
