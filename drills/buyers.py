"""People at a time deal: so many at once, each with a cart, and as soon as one has ordered the next one comes.

A closed loop: whoever waits for his answer sends nothing else, so a shop that is slow is also asked less. That is kind to the slow one.
Whoever is told that it failed presses again, a few times; whoever is told that something is sold out takes the rest of his cart, and those
who come later are not offered it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from demo.client import Client, ClientError, Response
from legacy_django.accounts.seeded import token

PRESSES: Final = 4
"""After that a buyer goes away."""
LINES: Final = (1, 3)
"""Options in a cart, at least and at most."""

ORDERED: Final = "ordered"
LIMITED: Final = "one for each"
SOLD_OUT: Final = "sold out"
FAILED: Final = "failed"
WAITING: Final = "waiting"
"""When the deal was over he had no answer yet."""


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of one press and those that followed from it. Times are seconds."""

    ended: float
    """From the beginning of the deal."""
    took: float
    """From the first press."""
    outcome: str
    presses: int


@dataclass(slots=True)
class Buyers:
    """Of one run. `items`: the options of each item of the deal. `twice`: each presses on two devices at the same moment."""

    port: int
    items: Mapping[int, Sequence[int]]
    people: int
    """As many as there are accounts."""
    twice: bool = False
    bought: list[Bought] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    """How often each was answered; 0: no whole answer came."""
    seconds: float = 0.0
    """How long they were at it."""
    began: float = 0.0
    """Unix time."""
    _next: int = 0
    _gone: set[int] = field(default_factory=set)
    """Options that are known to be sold out."""

    async def run(self, count: int, seconds: float) -> None:
        """`count` at once, for `seconds`. Whoever waits then waits no longer."""
        self.began = time.time()
        began = time.monotonic()
        buyers = [asyncio.create_task(self._buyer(began, seconds), name=f"buyer {number}") for number in range(count)]
        try:
            await asyncio.wait(buyers, timeout=seconds)
            self.seconds = time.monotonic() - began
        finally:
            for buyer in buyers:
                buyer.cancel()
            ended = await asyncio.gather(*buyers, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error

    async def _buyer(self, began: float, seconds: float) -> None:
        """One place in the crowd, and whoever comes to stand there."""
        clients = [Client(self.port) for _ in range(2 if self.twice else 1)]
        try:
            while self._next < self.people and time.monotonic() - began < seconds:
                self._next += 1
                person = self._next
                cart = self._cart(person)
                async with asyncio.TaskGroup() as presses:
                    for client in clients:
                        presses.create_task(self._one(client, person, cart, began), name=f"press of {person}")
        finally:
            for client in clients:
                client.close()

    def _cart(self, person: int) -> list[int]:
        """Options in the order in which he has put them there. Until something is sold out the same in every run."""
        chance = random.Random(person)  # noqa: S311 - the same crowd every time is the point
        on_offer = [option for options in self.items.values() for option in options if option not in self._gone]
        return chance.sample(on_offer, min(chance.randint(*LINES), len(on_offer)))

    async def _one(self, client: Client, person: int, cart: list[int], began: float) -> None:
        first = time.monotonic()
        outcome, presses = WAITING, 0
        try:
            while cart and presses < PRESSES:
                presses += 1
                outcome, cart = await self._press(client, person, cart)
                if outcome in (ORDERED, LIMITED):
                    break
        except asyncio.CancelledError:
            outcome = WAITING
            raise
        finally:
            now = time.monotonic()
            self.bought.append(Bought(now - began, now - first, outcome, presses))

    async def _press(self, client: Client, person: int, cart: list[int]) -> tuple[str, list[int]]:
        """(what came of it, what he would order next)"""
        body = json.dumps({"lines": [{"option": option, "quantity": 1} for option in cart]}).encode()
        fields = {"Content-Type": "application/json", "Authorization": f"Token {token(f'buyer{person:05}')}"}
        try:
            answer = await client.request("POST", "/api/v1/orders/", body, fields)
        except ClientError:
            self.statuses[0] += 1
            return FAILED, cart
        self.statuses[answer.status] += 1
        if answer.status == 201:
            return ORDERED, cart
        if answer.status != 409:
            return FAILED, cart
        if _code(answer) == "one_per_user":
            return LIMITED, cart
        # The shop names what is sold out; a person would see it on the page.
        self._gone |= await self._sold_out(client)
        return SOLD_OUT, [option for option in cart if option not in self._gone]

    async def _sold_out(self, client: Client) -> set[int]:
        """Looks at the pages of the deal."""
        found = set()
        for item in self.items:
            try:
                page = await client.request("GET", f"/api/v1/items/{item}")
            except ClientError:
                continue
            if page.status == 200:
                found |= {int(option["id"]) for option in json.loads(page.body)["options"] if not option["stock"]}
        return found


def _code(answer: Response) -> str:
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
