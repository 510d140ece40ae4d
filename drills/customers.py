"""People who pay their orders: each presses the button, and again if it did not say that the order is paid."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from demo.client import ClientError
from drills.load import Connections
from legacy_django.accounts.seeded import USERS, token

PAUSES: Final = (0.0, 1.0, 3.0)
"""Seconds before each press. Who has twice been told that nobody can be paid at the moment goes away before the third; who was told that it
failed, or that nobody knows yet, does press a third time."""
UNAVAILABLE: Final = 503

PAID: Final = "paid"
UNKNOWN: Final = "unknown"
"""The shop says that it will find out."""
FAILED: Final = "failed"
_BODY: Final = b'{"card": "4242"}'


@dataclass(slots=True)
class Press:
    """One request. Times are of time.monotonic()."""

    began: float
    ended: float
    said: str
    status: int


@dataclass(slots=True)
class Customers:
    """Of one run. Each order is paid by the user whose it is: `manage.py orders` gives them to all in turn, the first to user01."""

    connections: Connections
    first_order: int
    presses: dict[int, list[Press]] = field(default_factory=dict)
    """By order id."""

    async def pay(self, number: int) -> str:
        """Order number `number` of the run; a `drills.load.Act`."""
        order = self.first_order + number
        made = self.presses[order] = []
        for pause in PAUSES:
            if len(made) == 2 and all(press.status == UNAVAILABLE for press in made):
                break
            await asyncio.sleep(pause)
            made.append(await self._press(order, USERS[number % len(USERS)]))
            if made[-1].said == PAID:
                return PAID
        return UNKNOWN if any(press.said == UNKNOWN for press in made) else FAILED

    async def _press(self, order: int, user: str) -> Press:
        began = time.monotonic()
        status = 0
        fields = {"Content-Type": "application/json", "Authorization": f"Token {token(user)}"}
        try:
            async with self.connections.one() as client:
                answer = await client.request("POST", f"/api/v1/orders/{order}/payment", _BODY, fields)
            status = answer.status
        except ClientError:
            pass
        # 202: the shop does not know yet. 409: it is still at it. Either way nobody was told that nothing was charged.
        said = PAID if status == 200 else UNKNOWN if status in (202, 409) else FAILED
        return Press(began, time.monotonic(), said, status)

    def statuses(self) -> Counter[int]:
        """How often each status was answered; 0: no whole answer came."""
        return Counter(press.status for presses in self.presses.values() for press in presses)

    def since(self, moment: float) -> str:
        """In words, what became of requests that began after `moment` (of time.monotonic())."""
        statuses = Counter(press.status for presses in self.presses.values() for press in presses if press.began >= moment)
        return ", ".join(f"{count} times {status or 'no answer'}" for status, count in sorted(statuses.items())) or "nothing"

    def under_way(self, since: float, until: float) -> set[int]:
        """The orders of which a request was under way at some time between the two (of time.monotonic())."""
        return {order for order, presses in self.presses.items() if any(press.began <= until and press.ended >= since for press in presses)}
