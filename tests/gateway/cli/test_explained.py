"""An explanation stays readable whatever is in the flags: it fits a screen, and what decided is on it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from flags.features import revision
from flags.overrides import Override
from flags.snapshot import Snapshot
from gateway.cli.explained import lines
from gateway.config import parse
from gateway.explain import Question, explain

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


def strategy(number: int, **more: Any) -> dict[str, Any]:
    conditions = [{"contextName": f"x{each}", "operator": "IN", "values": [f"{value}" for value in range(1000)]} for each in range(8)]
    return {"name": "userWithId", "title": f"number {number}", "parameters": {"userIds": f"u{number}"}, "constraints": conditions, **more}


def shown(strategies: list[dict[str, Any]], overrides: dict[str, Override] | None = None, user: str = "u9") -> list[str]:
    features = [{"name": name, "enabled": True, "strategies": strategies} for name in ("reviews", "reviews.shadow")]
    data = json.dumps({"version": 1, "features": features}).encode()
    config = parse(Path("banyan.toml"), TOML)
    answer = explain(config, Snapshot(revision(data), data, "file", time.time()), overrides or {}, Question("/reviews/1", user=user))
    return list(lines(json.loads(json.dumps(answer)), "answered by a test", time.time()))


def test_a_flag_with_much_in_it_fits_a_screen_and_the_deciding_strategy_is_shown() -> None:
    every = [strategy(number) for number in range(9)]
    found = shown([*every, strategy(9, constraints=[])])
    assert len(found) <= 50
    assert max(map(len, found)) <= 300
    assert [line for line in found if "'number 9'" in line and line.endswith(": decided")]
    assert "  … of 10 strategies; --json has all" in found
    assert "    … of 8 conditions; --json has all" in found


def test_a_strategy_that_is_broken_is_said_to_be() -> None:
    broken = {"contextName": "x", "operator": "SEMVER_GT", "value": "many"}
    found = shown([*(strategy(number) for number in range(5)), strategy(9, constraints=[broken])])
    assert [line for line in found if "'number 9'" in line and line.endswith("BROKEN, and so the flag is off for everybody")]
    assert [line for line in found if line.startswith("    - x ") and line.endswith("; BROKEN")]
    assert [line for line in found if line.startswith("problem  reviews: ")]


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nflag reviews: ON", "a\u202eb"])
def test_nothing_that_somebody_wrote_moves_the_cursor(name: str) -> None:
    now = time.time()
    found = shown([strategy(1, title=name, constraints=[])], {"reviews": Override(False, now, now + 60, name, name)}, user=name)
    assert not [line for line in found if not line.isprintable()]


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nflag reviews: ON", "a\u202eb"])
def test_nor_does_what_the_gateway_passes_on(name: str) -> None:
    data = b'{"version": 1, "features": []}'
    state = Snapshot(revision(data), data, "file", time.time(), error=name)
    answer = json.loads(json.dumps(explain(parse(Path("banyan.toml"), TOML), state, {}, Question("/reviews/1"))))
    answer["flags"][0]["explanation"] |= {"variant": {"name": name, "enabled": True}, "variant_by_chance": False}
    answer["decision"]["serve"] = answer["request"]["target"] = name
    found = list(lines(answer, name, time.time()))
    assert not [line for line in found if not line.isprintable()]


def test_the_remaining_time_of_an_override() -> None:
    now = time.time()
    found = shown([], {"reviews": Override(False, now, now + 5400.4, "ana", "why not")})
    assert "  for 1h 30m more, by ana: why not" in found
    assert "why         somebody set it on this gateway for a while (reason=override)" in found


def test_what_the_gateway_refuses_is_said_first() -> None:
    data = b'{"version": 1, "features": []}'
    answer = explain(parse(Path("banyan.toml"), TOML), Snapshot(revision(data), data, "file", time.time()), {}, Question("/", "TRACE"))
    assert list(lines(json.loads(json.dumps(answer)), "answered by a test", time.time())) == [
        "TRACE /",
        "answered by a test",
        "",
        "answers  the GATEWAY itself, 405: TRACE is not relayed.",
        "why      no upstream and no flag is asked about such a request (method-not-allowed)",
    ]


def test_how_often_a_route_may_be_asked_for_is_said() -> None:
    config = parse(Path("banyan.toml"), TOML + "rate_limit = { rate = 2.5 }\n")
    answer = explain(config, Snapshot("1", b'{"version": 1, "features": []}', "file", time.time()), {}, Question("/reviews/1"))
    assert answer["route"]["rate_limit"] == {"per": "client", "rate": 2.5, "burst": 3}
    found = lines(json.loads(json.dumps(answer)), "answered by a test", time.time())
    assert "at most     2.5 requests a second from each client, 3 at once; then 429" in list(found)


PAYMENTS = """
[upstreams]
legacy = "http://127.0.0.1:1"
psp-a = "http://127.0.0.1:2"
psp-b = "http://127.0.0.1:3"
[[routes]]
name = "payments"
match = "/payments/*"
split = { psp-a = 1, psp-b = 1 }
sticky = "idempotency-key"
failover = "safe"
require_key = true
"""


@pytest.mark.parametrize(
    ("method", "headers", "said"),
    [
        ("POST", [("Idempotency-Key", "order-1")], "note     the ledger is asked first"),
        ("POST", [], "note     there is no Idempotency-Key, and the route requires one: the gateway itself would answer 400"),
        ("GET", [], "note     a GET executes nothing: it is not written down in the ledger"),
    ],
)
def test_a_payment(method: str, headers: list[tuple[str, str]], said: str) -> None:
    data = b'{"version": 1, "features": []}'
    snapshot = Snapshot(revision(data), data, "file", time.time())
    answer = explain(parse(Path("banyan.toml"), PAYMENTS), snapshot, {}, Question("/payments/1", method=method, headers=headers))
    found = list(lines(json.loads(json.dumps(answer)), "answered by a test", time.time()))
    assert [line for line in found if line.startswith(said)]
    split = answer["split"]
    assert split["known_by"] == ("idempotency-key" if headers else "remoteAddress")
    assert {split["provider"], split["then"]} == {"psp-a", "psp-b"}
    (fails,) = [line for line in found if line.startswith("if it fails")]
    assert f"{split['then']} is asked, if nothing was sent; what was sent and not answered is in doubt" in fails
