"""`python -m bench.engine`: what the edge engine itself takes for a request, without sockets and without an event loop's part.

Real Downstream, Relay and UpstreamConnection objects over transports that only remember; the requests are those of bench.load, on 32
connections in turn, and the answers differ as an API's do. It is for working on the engine: quick, quiet, and exact under
`valgrind --tool=callgrind`. What a request costs in all is the other benchmark's answer.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.load import BODIES, request
from flags.decisions import Decisions
from flags.snapshot import Snapshot
from gateway import build, compiled
from gateway.access import AccessLog
from gateway.config import parse
from gateway.identity.caller import Caller
from gateway.identity.callers import Question
from gateway.identity.credential import Credential
from gateway.net.downstream import Downstream
from gateway.net.edge import Edge
from gateway.net.listener import Listener
from gateway.net.upstream import UpstreamConnection
from gateway.policy.admission import Standing
from gateway.shipping import ShipperLink

CONNECTIONS = 32
USERS = [b"session-%d" % number for number in range(50)]
"""Whose sessions take turns on every connection, where it is asked who calls."""
IDENTITY = """
identity = "{need}"
[identity]
source = "introspection"
cache = "1h"
stamp = {{ key = "a-key-of-32-characters-for-benches" }}
"""
CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""

HEADERS = """
[flags]
headers = ["x-requested-with"]
"""


@dataclass(frozen=True)
class Scenario:
    """What the engine is asked to do."""

    shadow: bool = False
    need: str = ""
    """Of the route to know who calls; '' without any [identity]."""
    sticky: bool = False
    """The flags go by the client's address, and are off for the one that asks."""
    header: bool = False
    """They have a constraint on a header field, too."""

    def features(self) -> list[dict[str, object]]:
        """The two flags of the route."""
        if not self.sticky:
            everybody = {"rollout": "100", "stickiness": "default", "groupId": "reviews"}
            return [
                {"name": "reviews", "enabled": False, "strategies": []},
                {"name": "reviews.shadow", "enabled": self.shadow, "strategies": [{"name": "flexibleRollout", "parameters": everybody}]},
            ]
        strategy: dict[str, object] = {
            "name": "flexibleRollout",
            "parameters": {"rollout": "0", "stickiness": "remoteAddress", "groupId": "reviews"},
        }
        if self.header:
            strategy["constraints"] = [{"contextName": "x-requested-with", "operator": "IN", "values": ["XMLHttpRequest"]}]
        return [{"name": name, "enabled": True, "strategies": [strategy]} for name in ("reviews", "reviews.shadow")]


SCENARIOS = {
    "passthrough": Scenario(),
    "shadow": Scenario(shadow=True),
    "ignored": Scenario(need="ignored"),
    "identity": Scenario(need="optional"),
    "flags": Scenario(sticky=True),
    "header": Scenario(sticky=True, header=True),
}
"""identity: who calls, with his stamp; ignored: the same users, and nobody asks. passthrough has flags that are off for everybody."""


class _Transport:
    """A connection whose other end is the benchmark."""

    def __init__(self, taken: Callable[[], None] | None = None) -> None:
        self.taken = taken
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size = len(data)
        if self.taken is not None:
            self.taken()

    def writelines(self, data: list[bytes]) -> None: ...

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 40000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class World:
    """One engine with its clients, and upstreams that answer at once."""

    def __init__(self, scenario: Scenario, log: str) -> None:
        loop = asyncio.get_running_loop()
        decisions = Decisions()
        decisions.load(Snapshot("1", json.dumps({"version": 1, "features": scenario.features()}).encode(), "file", time.time()))
        identity = IDENTITY.format(need=scenario.need) if scenario.need else ""
        config = parse(Path("bench.toml"), CONFIG + identity + (HEADERS if scenario.header else ""))
        self._users = USERS if scenario.need else []
        self.link = ShipperLink(loop, "", queue=1_000_000, queue_bytes=1_000_000_000)
        self.link.connection_made(cast("asyncio.Transport", _Transport()))
        self.edge = Edge(
            loop,
            config,
            build.policy(config, decisions),
            access=AccessLog(log),
            shipper=self.link,
        )
        self._introduce()
        self._answers = itertools.cycle([_answer(size) for size in map(len, BODIES.values())])
        self._asked: list[UpstreamConnection] = []
        listener = Listener(self.edge)
        for pool in (self.edge.terms.pools["legacy"], self.edge.terms.shadow_pools["reviews"]):
            for _ in range(CONNECTIONS):
                connection = UpstreamConnection(pool)
                connection.connection_made(cast("asyncio.Transport", _Transport(self._taken(connection))))
                pool.places[0].total += 1
                pool.add(connection, pool.places[0])
                pool.release(connection)
        self.clients: list[tuple[Downstream, bytes]] = []
        self.transports: list[_Transport] = []
        for number in range(CONNECTIONS):
            client = Downstream(listener)
            transport = _Transport()
            client.connection_made(cast("asyncio.Transport", transport))
            self.clients.append((client, f"{number:024x}".encode()))
            self.transports.append(transport)

    def _introduce(self) -> None:
        """Legacy has said who the users are."""
        identity = self.edge.terms.identity
        if identity is None:
            return
        now = time.monotonic()
        for number, session in enumerate(USERS):
            question = identity.callers.lookup(Credential("sessionid", ""), b"\r\nCookie: sessionid=" + session, lambda caller: None, now)
            assert isinstance(question, Question)  # noqa: S101 - nobody was known before
            identity.callers.learned(question, Caller(str(number), standing=Standing.KNOWN), now, known=True)

    def _taken(self, connection: UpstreamConnection) -> Callable[[], None]:
        return lambda: self._asked.append(connection)

    def run(self, requests: list[bytes]) -> float:
        """Sends them, each on the next connection. Seconds of CPU."""
        asked, answers, clients = self._asked, self._answers, self.clients
        began = time.process_time()
        for number, data in enumerate(requests):
            clients[number % CONNECTIONS][0].data_received(data)
            answer = next(answers)
            while asked:
                asked.pop().data_received(answer)
        return time.process_time() - began

    def requests(self, count: int, first: int) -> list[bytes]:
        users, clients = self._users, self.clients
        return [
            request(number, users[number % len(users)] if users else clients[number % CONNECTIONS][1])
            for number in range(first, first + count)
        ]


def _answer(size: int) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 09:00:00 GMT\r\nContent-Type: application/json\r\n"
        f"Content-Length: {size}\r\nLast-Modified: Tue, 24 Nov 2026 08:00:00 GMT\r\nConnection: keep-alive\r\n"
        f'ETag: "6a13-{size:x}"\r\nAccept-Ranges: bytes\r\n\r\n'
    ).encode() + b"y" * size


async def measure(scenario: Scenario, *, count: int, rounds: int, log: str) -> float:
    """Microseconds of CPU a request, in the best round: the others were disturbed."""
    world = World(scenario, log)
    best = float("inf")
    for number in range(rounds + 1):
        requests = world.requests(count, number * count)
        seconds = world.run(requests)
        world.edge.sample.hand_over()  # as a worker does once a second
        if number:
            best = min(best, seconds)
        await asyncio.sleep(0.03)  # the exchanges of this round go to the shipper
    assert all(transport.size > 600 for transport in world.transports), "somebody got no answer"  # noqa: S101 - or the figure means nothing
    captured = world.edge.tally.report().routes["reviews"].shadow.captured
    assert captured == (count * (rounds + 1) if scenario.shadow else 0), f"{captured} exchanges were captured"  # noqa: S101
    world.edge.access.close()
    return best / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("scenario", nargs="*", default=[*SCENARIOS], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--count", type=int, default=10_000, help="requests in a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--log", default="/dev/null", help="the access log")
    given = parser.parse_args()
    if unknown := set(given.scenario) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}: give {', '.join(SCENARIOS)}")
    for scenario in given.scenario:
        figure = uvloop.run(measure(SCENARIOS[scenario], count=given.count, rounds=given.rounds, log=given.log))
        print(f"{scenario}, {compiled.state()}: {figure:.2f} µs a request")


if __name__ == "__main__":
    main()
