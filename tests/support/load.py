"""Clients that ask in their own names, check whose answer they got, and write down what they saw (tests/support/ledgers.py)."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

from tests.support.ledgers import Asked, Outcome

PATIENCE = 20.0
"""Seconds after which a client gives up: whatever is not answered by then is as good as lost."""
LONG = 8000
"""Lines of an answer that is too long for the gateway to hold back (gateway/net/relay.py, HOLD)."""
MOST = 2000
"""Requests of an open loop that are under way at once."""
Fields = Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is asked next."""

    method: str = "GET"
    path: str = "/jobs"
    fields: Fields = field(default_factory=dict)
    lines: int = 0
    """Of the request's body."""


def reads_and_writes(rng: random.Random) -> Plan:
    """A third POSTs; some answers in chunks, some long, some slow."""
    fields = {"X-Lines": str(rng.choice((1, 1, 1, 50, LONG))), "X-Wait": rng.choice(("0", "0", "0.002", "0.02"))}
    if rng.random() < 0.5:
        fields["X-Coding"] = "chunked"
    if rng.random() < 0.33:
        return Plan("POST", fields=fields, lines=rng.choice((1, 1, 100, 4000)))
    return Plan(fields=fields)


class Person:
    """One client. A connection is kept as long as the gateway keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: socket.socket | None = None
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, name: str, plan: Plan) -> Asked:
        """Never raises: what went wrong is part of what was seen."""
        began = time.monotonic()
        seen = _Seen()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._exchange(name, plan, seen)
            outcome = Outcome.REFUSED if seen.by_gateway else Outcome.ANSWERED
            why = ""
        except (OSError, h11.RemoteProtocolError, TimeoutError) as error:
            outcome = Outcome.CUT if seen.bytes else Outcome.SILENCE
            why = f"{type(error).__name__}: {error}"
            self.close()
        now = time.monotonic()
        return Asked(name, plan.method, outcome, seen.status, seen.names(), seen.port, why, now, now - began)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _exchange(self, name: str, plan: Plan, seen: _Seen) -> None:
        loop = asyncio.get_running_loop()
        if self._sock is None:
            self._http = h11.Connection(h11.CLIENT)
            sock = socket.socket()
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, ("127.0.0.1", self._port))
            except BaseException:
                sock.close()
                raise
            self._sock = sock
        sock = self._sock
        seen.port = sock.getsockname()[1]
        await loop.sock_sendall(sock, self._written(name, plan))
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await loop.sock_recv(sock, 2**18)
                seen.bytes += len(data)
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                seen.head(event)
            elif isinstance(event, h11.Data):
                seen.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise h11.RemoteProtocolError(f"unexpected {event!r}")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self.close()

    def _written(self, name: str, plan: Plan) -> bytes:
        body = f"{name}\n".encode() * plan.lines
        fields = [("Host", "a"), ("X-Request-ID", name), *plan.fields.items()]
        if plan.lines:
            fields.append(("Content-Length", str(len(body))))
        request = h11.Request(method=plan.method, target=f"{plan.path}/{name}", headers=fields)
        parts = [self._http.send(request), self._http.send(h11.Data(data=body)) if body else b"", self._http.send(h11.EndOfMessage())]
        return b"".join(part for part in parts if part)


@dataclass
class _Seen:
    port: int = 0
    status: int = 0
    by_gateway: bool = False
    bytes: int = 0
    body: bytearray = field(default_factory=bytearray)
    told: set[str] = field(default_factory=set)

    def head(self, event: h11.Response) -> None:
        self.status = event.status_code
        for name, value in event.headers:
            if name == b"banyan-error":
                self.by_gateway = True
            elif name == b"x-answer-to":
                self.told.add(value.decode())

    def names(self) -> frozenset[str]:
        """Every id that is in what was received. Of a body that was cut off, the last line may be half a one."""
        if self.by_gateway:
            found = re.search(rb'"request_id":"([^"]*)"', self.body)
            return frozenset({found[1].decode()} if found else ())
        lines = self.body.decode().split("\n")[:-1]
        if lines and lines[0].startswith("data: "):
            lines = [line.split(" ")[1] for line in lines if line]
        return frozenset({*self.told, *lines})


class Load:
    """Several clients, who ask without a pause, or with one, until it is over. With `rate` an open loop: so many requests a second, at the
    times that were planned, whatever became of those before, and as many clients as that takes."""

    def __init__(
        self, port: int, plan: Callable[[random.Random], Plan], *, clients: int, prefix: str, pause: float = 0.0, rate: float = 0.0
    ) -> None:
        self.asked: list[Asked] = []
        self.plans: dict[str, Plan] = {}
        """By request id."""
        self.unsent = 0
        """Of an open loop: what found no room, with MOST under way."""
        self.seconds = 0.0
        """That it was sent for, once it is over."""
        self._port = port
        self._plan = plan
        self._count = clients
        self._pause = pause
        self._rate = rate
        self._names = (f"{prefix}{number:06}" for number in itertools.count())
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._idle: list[Person] = []

    @property
    def rate(self) -> float:
        """Requests that were asked, a second, once it is over."""
        return len(self.asked) / self.seconds

    def begin(self) -> None:
        if self._rate:
            self._tasks = [asyncio.create_task(self._pace(), name="the open loop")]
        else:
            self._tasks = [asyncio.create_task(self._run(number), name=f"client {number}") for number in range(self._count)]

    async def end(self) -> None:
        """What is under way is waited for."""
        self._over.set()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*self._under_way)
        for person in self._idle:
            person.close()

    async def until(self, count: int, seconds: float = 30.0) -> None:
        """Waits for so many more requests to have ended."""
        goal = len(self.asked) + count
        for _ in range(int(seconds / 0.02)):
            if len(self.asked) >= goal:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"only {len(self.asked)} of {goal} requests have ended")

    async def _ask(self, person: Person, rng: random.Random) -> Asked:
        name, plan = next(self._names), self._plan(rng)
        self.plans[name] = plan
        asked = await person.ask(name, plan)
        self.asked.append(asked)
        return asked

    async def _run(self, number: int) -> None:
        person = Person(self._port)
        rng = random.Random(number)  # the same load every time
        try:
            while not self._over.is_set():
                asked = await self._ask(person, rng)
                if asked.outcome is Outcome.SILENCE:
                    await asyncio.sleep(0.02)  # nobody there: not a busy loop
                elif self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            person.close()

    async def _pace(self) -> None:
        rng = random.Random(0)
        began = time.monotonic()
        for number in itertools.count(1):
            if len(self._under_way) < MOST:
                task = asyncio.create_task(self._once(rng), name=f"request {number}")
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            else:
                self.unsent += 1
            due = began + number / self._rate
            with suppress(TimeoutError):
                async with asyncio.timeout(due - time.monotonic()):
                    await self._over.wait()
            self.seconds = time.monotonic() - began
            if self._over.is_set():
                return

    async def _once(self, rng: random.Random) -> None:
        person = self._idle.pop() if self._idle else Person(self._port)
        await self._ask(person, rng)
        self._idle.append(person)


@asynccontextmanager
async def load(
    port: int,
    plan: Callable[[random.Random], Plan] = reads_and_writes,
    *,
    clients: int = 8,
    prefix: str,
    pause: float = 0.0,
    rate: float = 0.0,
) -> AsyncIterator[Load]:
    """Runs around what happens to it."""
    running = Load(port, plan, clients=clients, prefix=prefix, pause=pause, rate=rate)
    running.begin()
    try:
        yield running
    finally:
        await running.end()
