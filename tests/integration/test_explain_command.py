"""`banyan explain` says what a real request meets, asked of the gateway or worked out without one."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.processes import python
from tests.support.gateway import Gateway, Upstream, gateway, ok
from tests.support.serving import answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = ""
[flags]
headers = ["x-app-version"]
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
methods = ["GET", "HEAD"]
candidate = "new"
rewrite = "/reviews/*"
"""
FLAGS = {
    "version": 1,
    "features": [
        {
            "name": "reviews",
            "enabled": True,
            "strategies": [
                {
                    "name": "flexibleRollout",
                    "title": "pilot",
                    "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "reviews"},
                    "constraints": [{"contextName": "x-app-version", "operator": "SEMVER_GT", "value": "3.0.0"}],
                },
                {
                    "name": "remoteAddress",
                    "parameters": {"IPs": "127.0.0.1"},
                    "constraints": [{"contextName": "method", "operator": "IN", "values": ["HEAD"]}],
                },
            ],
        },
        {"name": "reviews.shadow", "enabled": False, "strategies": []},
    ],
}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Gateway]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(folder, TOML.format(legacy=legacy.port, new=new.port)) as started:
            started.flags.write_text(json.dumps(FLAGS))
            await started.decided(reviews=True)
            yield started
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Of all who only ask."""
    async with serving(tmp_path_factory.mktemp("explained")) as started:
        yield started


async def explain(started: Gateway, *arguments: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    where = ["--offline"] if offline else ["--admin", f"127.0.0.1:{started.admin}"]
    command = python("-m", "gateway.cli", "explain", *arguments, *where, "--config", str(started.folder / "banyan.toml"))
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def machine(started: Gateway, *arguments: str, offline: bool = False) -> dict[str, Any]:
    done = await explain(started, *arguments, "--json", offline=offline)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


QUESTIONS = [
    ["GET", "/api/v1/reviews/3"],
    ["HEAD", "/api/v1/reviews/3?page=2"],
    ["GET", "/api/v1/reviews/3", "--header", "X-App-Version: 3.1.0", "--header", "Accept: text/html"],
    ["POST", "/api/v1/reviews/3"],
    ["GET", "/api/v1/x%2f..%2freviews/3"],
    ["GET", "/elsewhere"],
]


async def test_it_says_what_a_request_meets_with_and_without_the_gateway(running: Gateway) -> None:
    for arguments in QUESTIONS:
        method, target, *options = arguments
        fields = "".join(f"{option}\r\n" for option in options if option != "--header")
        raw = f"{method} {target} HTTP/1.1\r\nHost: shop.test\r\n{fields}" + ("Content-Length: 0\r\n" if method == "POST" else "") + "\r\n"
        met = (await running.request(raw.encode())).header("Banyan-Route") or ""
        asked, alone = await asyncio.gather(machine(running, *arguments), machine(running, *arguments, offline=True))
        assert (asked["gateway"], alone["gateway"]) == (f"127.0.0.1:{running.admin}", None)
        decision = asked["decision"]
        route = asked["route"]["name"] if asked["route"] else "-"
        assert met == f"{route}; served-by={decision['served_by']}; reason={decision['reason']}", arguments
        for answer in (asked, alone):
            del answer["gateway"], answer["answered"], answer["flag_state"]["fetched_at"]
        assert asked == alone, arguments


async def test_what_the_gateway_refuses_is_said_with_and_without_it(running: Gateway) -> None:
    for offline in (False, True):
        found = await machine(running, "TRACE", "/api/v1/reviews/3", offline=offline)
        assert (found["decision"], found["refused"]["status"]) == (None, 405)
    assert (await running.request(b"TRACE /api/v1/reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n")).status == 405


async def test_every_caller_of_a_share_is_told_as_it_is(running: Gateway) -> None:
    shown = set()
    users = ("1", "2", "3", "4", "5", "6")
    version = ("--header", "X-App-Version: 3.1.0")
    for done in await asyncio.gather(*(explain(running, "GET", "/api/v1/reviews/3", "--user", user, *version) for user in users)):
        assert done.returncode == 0
        place = re.search(r"this caller is in from (\d+) % on", done.stdout)
        assert place is not None, done.stdout
        inside = int(place[1]) <= 50
        assert ("answers      CANDIDATE (new), asked for GET /reviews/3" in done.stdout) is inside
        assert ("answers     LEGACY, asked for GET /api/v1/reviews/3" in done.stdout) is not inside
        shown.add(inside)
        assert len(done.stdout.splitlines()) <= 24
    assert shown == {True, False}


async def test_for_people_it_says_who_was_asked_and_what_decided(running: Gateway) -> None:
    done = (await explain(running, "HEAD", "/api/v1/reviews/3")).stdout
    assert done.splitlines()[:2] == ["HEAD /api/v1/reviews/3", f"answered by the gateway at 127.0.0.1:{running.admin}"]
    assert re.search(r"(?m)^why +its flag is on for this caller \(reason=flag\)$", done)
    assert re.search(r"(?m)^  - strategy 1 'pilot': 50 % by userId: does not match\n    - x-app-version .* \(here nothing\)$", done)
    assert re.search(r"(?m)^  \+ strategy 2: .*: decided\n    \+ method is one of HEAD \(here 'HEAD'\)$", done)
    assert re.search(r"(?m)^flag reviews.shadow \(whether answers are compared\): OFF\n  it is turned off$", done)
    done = (await explain(running, "HEAD", "/api/v1/reviews/3", offline=True)).stdout
    assert f"NOT BY A GATEWAY (--offline): worked out from {running.folder}/banyan.toml and {running.folder}/flags.json" in done


async def test_an_override_is_shown_also_by_what_is_written_down(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        command = [
            "override",
            "reviews",
            "off",
            "--for",
            "10m",
            "--why",
            "it is \x1b[31mred",
            "--by",
            "ana",
            "--admin",
            f"127.0.0.1:{running.admin}",
        ]
        command = python("-m", "gateway.cli", "flags", *command, "--config", str(running.folder / "banyan.toml"))
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, '"why" is a line of text' in done.stderr) == (1, True), "no control characters get in"
        command[command.index("--why") + 1] = "it is red"
        assert (await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)).returncode == 0
        for offline in (False, True):
            done = await explain(running, "HEAD", "/api/v1/reviews/3", offline=offline)
            assert re.search(r"(?m)^answers +LEGACY,", done.stdout)
            assert re.search(r"(?m)^  for (10m|9m 5\ds) more, by ana: it is red$", done.stdout), done.stdout


async def test_what_cannot_be_asked(running: Gateway) -> None:
    for arguments, said in [
        (["GET", "no-path"], "is no path"),
        (["G T", "/"], "is no method"),
        (["GET", "/", "--header", "none"], '--header: write "Name: value"'),
        (["GET", "/", "--claim", "none"], "--claim: write NAME=VALUE"),
    ]:
        for offline in (False, True):
            done = await explain(running, *arguments, offline=offline)
            assert (done.returncode, done.stdout) == (2, "")
            assert said in done.stderr, done.stderr


async def test_without_a_gateway_it_is_worked_out_and_said(tmp_path: Path) -> None:
    config = tmp_path / "banyan.toml"

    async def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = python("-m", "gateway.cli", "explain", "GET", "/api/v1/reviews/3", "--user", "7", "--config", str(config), *more)
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)

    toml = TOML.format(legacy=1, new=2).replace("[gateway]\n", '[gateway]\nadmin = "127.0.0.1:9"\n')
    config.write_text(toml)
    done = await run()
    assert (done.returncode, "there is no such file" in done.stderr) == (2, True), "a gateway would not start either"
    (tmp_path / "flags.json").write_text(json.dumps(FLAGS))
    done = await run()
    assert done.returncode == 0
    assert "NOT BY A GATEWAY (no gateway answers at 127.0.0.1:9 (Connection refused)): worked out from" in done.stdout
    assert (await run("--admin", "127.0.0.1:9")).returncode == 2, "who names a gateway wants its answer"

    unleash = 'source = "unleash"\nurl = "http://127.0.0.1:9/api"\ntoken = "default:development.secret"\n'
    config.write_text(toml.replace("[flags]\n", f"[flags]\n{unleash}"))
    done = await run()
    assert done.returncode == 0
    assert re.search(r"(?m)^flags from +none; there is no backup at ", done.stdout), done.stdout
    backup = tmp_path / "var" / "flags-backup.json"
    backup.parent.mkdir()
    backup.write_text(json.dumps(FLAGS))
    backup.chmod(0o600)
    done = await run("--header", "X-App-Version: 9.0.0")
    assert re.search(r"(?m)^flags from +backup, as of ", done.stdout), done.stdout
    assert f"and the backup {backup}" in done.stdout
    assert "secret" not in done.stdout


async def test_a_gateway_that_cannot_say_is_not_spoken_for(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(TOML.format(legacy=1, new=2))
    (tmp_path / "flags.json").write_text(json.dumps(FLAGS))
    with answering(404, "Not Found", content_type="text/plain") as old:
        command = python(
            "-m", "gateway.cli", "explain", "GET", "/", "--admin", f"127.0.0.1:{old.port}", "--config", str(tmp_path / "banyan.toml")
        )
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "says 404" in done.stderr
    assert "--offline works it out" in done.stderr
