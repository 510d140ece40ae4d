"""50 signed-in people who use the shop, together at a steady rate.

They live on an event loop in a thread of their own, so that whoever tells the story may wait, start and kill in plain code. Each has one
connection and asks for one thing at a time. Everything they see is recorded, a failure too: no whole answer, or a status of 5xx.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Final

from demo.client import Client, ClientError, Response, SignInError

KEPT: Final = 50_000
"""Answers that are remembered: minutes of traffic, and any step of the story takes seconds."""
SIGNING_IN_AT_ONCE: Final = 8
AT_ONCE: Final = 12
"""Requests under way. A machine that is too slow for the rate gets fewer requests, not a queue that ends in timeouts."""
LATE_SECONDS: Final = 0.2
"""After a stall the traffic goes on at its rate; it does not make good for more than this."""
ITEMS: Final = 200
REVIEWS: Final = 5000
OPTIONS: Final = 600
WEIGHTS: Final = {"reviews": 40, "recommendations": 36, "items": 11, "pages": 9, "account": 3, "order": 1}
MORE_WEIGHTS: Final = {"product-view": 24}
"""Of what is there only where data moves."""
FOCUS: Final = 240
"""The weight of a route that the story looks at: four fifths of the traffic."""


class TrafficError(RuntimeError):
    """The people could not sign in."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of them got. Times are of time.monotonic()."""

    began: float
    ended: float
    user: str
    route: str
    """reviews, recommendations, or what else it was: known from the path, not from the gateway."""
    served: str
    """legacy or candidate, in the gateway's words; "" where it does not say."""
    reason: str
    status: int
    failure: str
    """"" where all is well."""


@dataclass(slots=True)
class _Person:
    name: str
    client: Client
    chance: random.Random
    busy: bool = False


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    failed: int = 0
    last_failure: str = field(default="")


class Traffic:
    """`start` signs everybody in; `resume` and `pause` as often as needed; `stop` at the end."""

    def __init__(self, port: int, users: Sequence[str], password: str, rate: float, routes: Sequence[str] = ()) -> None:
        """`routes`: what else there is to be asked for, beside WEIGHTS."""
        self.counts = _Counts()
        self._password = password
        self._interval = 1 / rate
        self._usual = {**WEIGHTS, **{name: weight for name, weight in MORE_WEIGHTS.items() if name in routes}}
        self._weights = self._usual
        self._answers: deque[Answer] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        # A seed each: the same walk through the shop on every run. Nothing here is a secret.
        self._people = [_Person(name, Client(port), random.Random(name)) for name in users]  # noqa: S311 - as said
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._go = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Signs everybody in; nobody asks for anything yet.

        Raises:
            TrafficError: somebody could not sign in.
        """
        self._thread.start()
        try:
            self._call(self._sign_in(), 60)
        except (ClientError, SignInError, TimeoutError) as error:
            raise TrafficError(f"signing in through the gateway failed: {error}") from error

    def resume(self) -> None:
        """Lets them ask."""
        self._loop.call_soon_threadsafe(self._go.set)

    def pause(self) -> None:
        """Until nobody waits for an answer any more."""
        self._call(self._pause(), 30)

    def focus(self, route: str) -> None:
        """Most of what is asked from now on is of `route`."""
        self._weights = {**self._usual, route: FOCUS}

    def answers(self, since: float) -> list[Answer]:
        """What was asked for at `since` (time.monotonic()) or later and is answered, in the order of the answers."""
        with self._lock:
            return [answer for answer in self._answers if answer.began >= since]

    def ended(self, since: float) -> list[Answer]:
        """What was answered at `since` or later, whenever it was asked for."""
        with self._lock:
            return [answer for answer in self._answers if answer.ended >= since]

    def stop(self) -> None:
        """Hangs up. May be called at any time, and again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _call[Result](self, work: Coroutine[object, object, Result], seconds: float) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    # On the loop

    def _run(self) -> None:
        driver = self._loop.create_task(self._drive(), name="driver")
        self._loop.run_forever()
        left = {driver, *self._tasks}
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for person in self._people:
            person.client.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # lets the transports close
        self._loop.close()

    async def _sign_in(self) -> None:
        gate = asyncio.Semaphore(SIGNING_IN_AT_ONCE)

        async def one(person: _Person) -> None:
            async with gate:
                await person.client.sign_in(person.name, self._password)

        async with asyncio.timeout(55):
            for outcome in await asyncio.gather(*map(one, self._people), return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _pause(self) -> None:
        self._go.clear()
        await asyncio.sleep(0)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _drive(self) -> None:
        turn = 0
        due = time.monotonic()
        while True:
            await self._go.wait()
            now = time.monotonic()
            due = max(due + self._interval, now - LATE_SECONDS)
            if due > now:
                await asyncio.sleep(due - now)
            if not self._go.is_set() or len(self._tasks) >= AT_ONCE:
                continue
            for _ in self._people:
                person = self._people[turn]
                turn = (turn + 1) % len(self._people)
                if not person.busy:
                    person.busy = True
                    task = self._loop.create_task(self._ask(person), name=f"traffic of {person.name}")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    break

    async def _ask(self, person: _Person) -> None:
        route = person.chance.choices(list(self._weights), weights=list(self._weights.values()))[0]
        began = time.monotonic()
        served = reason = failure = ""
        status = 0
        try:
            response = await self._order(person) if route == "order" else await person.client.request("GET", path(route, person.chance))
            status = response.status
            served, reason = decision(response)
            failure = f"status {status}" if status >= 500 else ""
        except ClientError as error:
            failure = str(error)
        finally:
            person.busy = False
        answer = Answer(began, time.monotonic(), person.name, route, served, reason, status, failure)
        with self._lock:
            self._answers.append(answer)
            self.counts.answered += 1
            if failure:
                self.counts.failed += 1
                self.counts.last_failure = f"{route}: {failure}"

    async def _order(self, person: _Person) -> Response:
        body = json.dumps({"lines": [{"option": person.chance.randint(1, OPTIONS), "quantity": 1}]}).encode()
        fields = {"Content-Type": "application/json", "X-CSRFToken": person.client.cookies.get("csrftoken", "")}
        return await person.client.request("POST", "/api/v1/orders/", body, fields)


def path(route: str, chance: random.Random) -> str:
    """Something that a visitor would ask of `route`. Among it what does not exist: how a service says no belongs to what it says."""
    item = chance.randint(1, ITEMS)
    match route:
        case "reviews":
            choices = [
                f"/api/v1/reviews/?item={item}",
                f"/api/v1/reviews/?item={item}&page=2",
                f"/api/v1/reviews/?page={chance.randint(1, 20)}",
                f"/api/v1/reviews/summary/{item}",
                f"/api/v1/reviews/{chance.randint(1, REVIEWS + 50)}",
            ]
        case "recommendations":
            choices = [
                f"/api/v1/recommendations/?item={item}",
                f"/api/v1/recommendations/{chance.randint(1, 50)}",
                f"/api/v1/recommendations/{chance.randint(1, 50)}",
                f"/api/v1/recommendations/{chance.randint(40, 60)}",
            ]
        case "items":
            choices = [f"/api/v1/items/?page={chance.randint(1, 10)}", f"/api/v1/items/{item}"]
        case "product-view":
            choices = [f"/api/v1/product-view/{item}", f"/api/v1/product-view/{item}", f"/api/v1/product-view/{ITEMS + item}"]
        case "pages":
            choices = ["/", f"/items/{item}/", f"/items/{item}/", "/static/shop/shop.css"]
        case _:
            choices = ["/api/v1/users/me", "/api/v1/orders/"]
    return chance.choice(choices)


def decision(response: Response) -> tuple[str, str]:
    """(who served, why), out of `Banyan-Route: reviews; served-by=candidate; reason=flag`."""
    parts = dict(part.strip().partition("=")[::2] for part in response.header("banyan-route").split(";"))
    return parts.get("served-by", ""), parts.get("reason", "")
