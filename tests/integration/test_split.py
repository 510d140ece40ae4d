"""A split route by its commands: what flags sync, list, check, explain and GET /routes say is what requests meet."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import python
from tests.support.providers import Shop, shop

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path, "edge") as started:
        yield started


async def banyan(running: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", *arguments, "--config", str(running.gateway.folder / "banyan.toml"))
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def explained(running: Shop, *arguments: str) -> dict[str, Any]:
    here = f"127.0.0.1:{running.gateway.admin}"
    found: dict[str, Any] = json.loads((await banyan(running, "explain", *arguments, "--admin", here, "--json")).stdout)
    return found


async def revised(running: Shop, before: str) -> None:
    async with asyncio.timeout(10):
        while True:
            state = await asyncio.to_thread(running.gateway.get, "/flags")
            if state["revision"] != before and all(state["workers"].values()):
                return
            await asyncio.sleep(0.02)


async def test_the_flag_is_made_off_turned_on_without_a_change_and_then_moves_the_weights(running: Shop) -> None:
    users = [str(user) for user in range(20)]
    configured = {user: await running.provider(user) for user in users}
    assert "note: no flag 'payments.split'" in (await banyan(running, "check")).stdout
    assert running.gateway.get("/flags")["problems"] == []
    made = await banyan(running, "flags", "sync")
    assert (made.returncode, made.stderr) == (0, "")
    assert "payments.split  made, off" in made.stdout
    (payments, dice) = json.loads(running.gateway.flags.read_text())["features"]
    assert (payments["name"], payments["enabled"], dice["name"]) == ("payments.split", False, "dice.split")
    (strategy,) = payments["strategies"]
    assert {each["name"]: each["weight"] for each in strategy["variants"]} == {"psp-a": 700, "psp-b": 300}
    assert "the weights of its variants are the shares of the providers (psp-a, psp-b)" in payments["description"]
    assert "Nothing to do" in (await banyan(running, "flags", "sync")).stdout
    before = running.gateway.get("/flags")["revision"]
    assert (await banyan(running, "flags", "on", "payments.split")).returncode == 0
    await revised(running, before)
    assert running.gateway.get("/routes")["routes"][0]["split"]["from"] == "flag"
    assert {user: await running.provider(user) for user in users} == configured
    strategy["variants"] = [{"name": "psp-a", "weight": 0}, {"name": "psp-b", "weight": 1000}]
    payments["enabled"] = True
    before = running.gateway.get("/flags")["revision"]
    running.gateway.flags.write_text(json.dumps({"version": 1, "features": [payments, dice]}))
    await revised(running, before)
    assert {await running.provider(user) for user in users} == {"psp-b"}
    here = f"127.0.0.1:{running.gateway.admin}"
    for arguments in (["--admin", here], ["--admin", "127.0.0.1:1"]):  # of the gateway, and worked out without one
        listed = await banyan(running, "flags", "list", *arguments)
        assert "payments: shares of the providers /payments/*" in listed.stdout
        assert "shares: psp-a 0 %, psp-b 100 % (by its variants, where it is on)" in listed.stdout
        assert "shares: psp-a 70 %, psp-b 30 % (as configured)" in listed.stdout  # of dice.split, which is off
        assert "problem" not in listed.stdout
    machine = json.loads((await banyan(running, "flags", "list", "--json", "--admin", here)).stdout)
    (read,) = machine["flags"][0]["read_by"]
    assert (read["role"], read["split"]) == ("split", {"psp-a": 70, "psp-b": 30})
    assert (read["weights"], read["from"]) == ({"psp-a": 0, "psp-b": 1000}, "flag")


async def test_weights_move_while_requests_run_and_none_fails(running: Shop) -> None:
    """Nobody is served by a provider that has weighed nothing since before his request."""
    answers: list[tuple[bytes, str]] = []
    wanted = ""
    going = True

    async def shopper(number: int) -> None:
        client = await running.gateway.connect()
        turn = number
        while going:
            turn += 7
            settled = wanted
            answer = await client.request(
                f"POST /payments/1 HTTP/1.1\r\nHost: a\r\nCookie: sessionid={turn % 50}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert answer.status == 200, answer
            answers.append((answer.body, settled))

    shoppers = [asyncio.create_task(shopper(number), name=f"shopper {number}") for number in range(4)]
    for name in ("psp-a", "psp-b", "psp-a"):
        wanted = ""
        await running.flag(**{name.replace("-", "_"): 1000})
        wanted = name
        await asyncio.sleep(0.3)
    going = False
    await asyncio.gather(*shoppers)
    settled = Counter(answers)
    for name in ("psp-a", "psp-b"):
        assert settled[name.encode(), name] > 10
    assert all(wanted in ("", body.decode()) for body, wanted in answers)
    assert sum(len(provider.requests) for provider in running.providers.values()) == len(answers)


async def test_explain_says_whom_a_caller_meets_and_by_what(running: Shop) -> None:
    for step in ({}, {"psp_a": 300, "psp_b": 700}, {"psp_a": 500, "psp_x": 500}):
        if step:
            await running.flag(**step)
        for user in ("1", "2", "3", "4", "5"):
            answer = await explained(running, "POST", "/payments/3", "--user", user, "--session", f"s-{user}")
            split, decision = answer["split"], answer["decision"]
            assert decision["serve"] == split["provider"] == await running.provider(user)
            assert (decision["reason"], decision["fallback"], decision["shadow"]) == ("split", None, None)
            assert (split["sticky"], split["known_by"], split["configured"]) == ("user", "userId", {"psp-a": 70, "psp-b": 30})
        moved = step == {"psp_a": 300, "psp_b": 700}
        assert split["from"] == ("flag" if moved else "configuration")
        assert split["weights"] == ({"psp-a": 300, "psp-b": 700} if moved else {"psp-a": 70, "psp-b": 30})
        assert bool(answer["problems"]) is ("psp_x" in step)
    nobody = await explained(running, "GET", "/payments/3", "--address", "192.0.2.1")
    assert nobody["split"]["known_by"] == "sessionId"  # as the gateway does: by a visitor's number that nobody has had before
    assert "a new visitor was made up" in nobody["notes"][0]
    dice = await explained(running, "GET", "/dice", "--user", "7")
    assert dice["split"]["known_by"] is None
    assert "dice were thrown" in dice["notes"][0]


async def test_explain_for_people(running: Shop) -> None:
    await running.flag(psp_a=0, psp_b=1000)
    here = f"127.0.0.1:{running.gateway.admin}"
    said = (await banyan(running, "explain", "POST", "/payments/3", "--user", "7", "--admin", here)).stdout
    for line in (
        "route        payments: every method /payments/*, split between psp-a, psp-b",
        "answers      PROVIDER (psp-b), asked for POST /payments/3",
        "why          it is this caller's provider by the weights in force (reason=split)",
        "shares       psp-a 0 %, psp-b 100 % (of its flag's variants)",
        "stays with   psp-b, by the userId, for as long as the shares stay",
        "if it fails  nobody else is asked: the caller is told",
        "flag payments.split (the providers' shares): ON",
    ):
        assert line in said, said
    assert "variant" not in said.replace("flag's variants", "")  # which Unleash's engine would have chosen
    alone = (await banyan(running, "explain", "POST", "/payments/3", "--user", "7", "--offline")).stdout
    assert "answers      PROVIDER (psp-b)" in alone


async def test_check_warns_of_variants_that_are_no_providers(running: Shop) -> None:
    await running.flag(psp_a=500, psp_x=500)
    ended = await banyan(running, "check")
    assert ended.returncode == 0
    assert "warning: flag 'payments.split'" in ended.stdout
    assert "its variant 'psp-x' is none of the providers of payments (psp-a, psp-b): the configured weights are in force" in ended.stdout
    listed = await banyan(running, "flags", "list", "--admin", f"127.0.0.1:{running.gateway.admin}")
    assert "problem: its variant 'psp-x'" in listed.stdout
    assert "shares: psp-a 70 %, psp-b 30 % (as configured)" in listed.stdout


async def test_nothing_is_compared_and_so_there_is_no_gate(running: Shop) -> None:
    for verb in ("gate", "report"):
        ended = await banyan(running, verb, "payments")
        assert (ended.returncode, ended.stdout) != (0, "")
        assert "the route 'payments' is split between providers" in ended.stderr
