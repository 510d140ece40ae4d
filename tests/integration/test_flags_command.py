"""`banyan flags override` and `list` beside gateways that run, and beside what only looks like one."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from demo.processes import python, start
from tests.support.gateway import Gateway, Upstream, gateway, listening, ok
from tests.support.serving import DRIPPING, answering, unending

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        folder = tmp_path_factory.mktemp("flags")
        async with gateway(folder, TOML.format(legacy=legacy.port, new=new.port), workers=2, reviews=True) as started:
            yield started
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def running(shared: Gateway) -> AsyncIterator[Gateway]:
    """The one of this module, as it was before the test."""
    config = shared.folder / "banyan.toml"
    text, switched = config.read_text(), shared.flags.read_text()
    yield shared
    config.write_text(text)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{shared.admin}", timeout=10) as client:
        for flag in (await client.get("/flags")).json()["overrides"]:
            done = await client.request("DELETE", f"/flags/overrides/{flag}", json={"by": "ana", "why": "over"})
            done.raise_for_status()
    if shared.flags.read_text() != switched:
        await shared.current(reviews=True)


async def flags(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "flags", *arguments, "--config", str(folder / "banyan.toml"))
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def test_an_override_is_taken_shown_and_cleared(running: Gateway) -> None:
    here = f"127.0.0.1:{running.admin}"
    done = await flags(
        running.folder, "override", "reviews", "off", "--for", "30m", "--why", "500s since two", "--by", "ana", "--admin", here
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"{here}: reviews is off for everybody until (?:\w+ \d+ \w+, )?\d\d:\d\d:\d\d \(for (?:30m|29m 59s)\); "
        r"every worker decides by it after [0-9ms ]+\n",
        done.stdout,
    ), done.stdout
    kept = running.get("/flags")["overrides"]["reviews"]
    assert (kept["enabled"], kept["by"], kept["why"]) == (False, "ana", "500s since two")
    listed = (await flags(running.folder, "list", "--admin", here)).stdout
    assert re.search(rf"(?m)^gateway  at {here}: flags from file, confirmed \d+ms ago; all 2 workers decide by them$", listed), listed
    assert re.search(
        r"(?m)^reviews +on   100 % +release +reviews: who answers /reviews/\*\n  overridden: OFF for everybody, for \d+m", listed
    )
    assert "more, by ana: 500s since two" in listed
    assert re.search(r"(?m)^reviews.shadow +does not exist: off.*\n  problem: there is no such flag", listed)
    machine = json.loads((await flags(running.folder, "list", "--json", "--admin", here)).stdout)
    assert machine["gateway"]["answers"] is True
    assert machine["flags"][0]["override"]["by"] == "ana"
    assert (machine["flags"][0]["running"], machine["flags"][1]["running"]) == (True, None)
    cleared = await flags(running.folder, "override", "reviews", "--clear", "--json", "--admin", here)
    assert (cleared.returncode, json.loads(cleared.stdout)["gateways"][0]["taken"]) == (0, True)
    assert running.get("/flags")["overrides"] == {}
    again = await flags(running.folder, "override", "reviews", "--clear", "--admin", here)
    assert (again.returncode, "Nothing overrides 'reviews'" in again.stderr) == (1, True)


async def test_who_is_whoever_types(running: Gateway) -> None:
    done = await flags(running.folder, "override", "reviews", "on", "--for", "90s", "--admin", f"127.0.0.1:{running.admin}")
    assert done.returncode == 0
    assert running.get("/flags")["overrides"]["reviews"]["by"].endswith(f"@{socket.gethostname()}")


async def test_several_gateways_are_all_asked_and_one_that_does_not_take_it_is_named(running: Gateway) -> None:
    here = f"127.0.0.1:{running.admin}"
    with socket.socket() as mute, answering(200, "<html>", content_type="text/html") as page:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        every = [option for place in (silent, here, f"127.0.0.1:{page.port}", "nonsense") for option in ("--admin", place)]
        done = await flags(running.folder, "override", "reviews", "off", "--for", "1m", *every)
        assert time.monotonic() - began < 20
    assert done.returncode == 1
    assert re.search(rf"(?m)^{here}: reviews is off", done.stdout)
    assert f"{silent}: NOT TAKEN: no gateway answers at {silent} within 5 s" in done.stderr
    assert re.search(r"(?m)NOT TAKEN: .*with no JSON\. Is it a gateway's admin port\?", done.stderr)
    assert "nonsense: NOT TAKEN: 'nonsense' is no admin port" in done.stderr
    assert running.get("/flags")["overrides"]["reviews"]["enabled"] is False


async def test_what_no_route_reads_is_refused_by_the_gateway(running: Gateway) -> None:
    done = await flags(running.folder, "override", "revews", "off", "--for", "1m", "--admin", f"127.0.0.1:{running.admin}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No route reads a flag 'revews'. Routes read reviews, reviews.shadow" in done.stderr


async def test_whoever_switches_a_flag_hears_of_an_override_that_wins(running: Gateway) -> None:
    config = running.folder / "banyan.toml"
    config.write_text(config.read_text().replace('admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{running.admin}"'))
    assert (await flags(running.folder, "override", "reviews", "on", "--for", "1h", "--by", "ana")).returncode == 0
    done = await flags(running.folder, "off", "reviews", "reviews.shadow")
    assert (done.returncode, done.stdout) == (0, "reviews         off\nreviews.shadow  off\n")
    assert re.fullmatch(r"note: until .* an override by ana has reviews on for everybody .* --clear` ends it\n", done.stderr), done.stderr


async def test_a_broken_configuration_does_not_stand_in_the_way(running: Gateway) -> None:
    config = running.folder / "banyan.toml"
    config.write_text(config.read_text().replace('admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{running.admin}"') + "nonsense = 1\n")
    done = await flags(running.folder, "override", "reviews", "off", "--for", "1m")
    assert (done.returncode, done.stderr) == (0, "")
    assert running.get("/flags")["overrides"]["reviews"]["enabled"] is False


async def test_without_unleash_the_list_is_what_the_gateway_has(running: Gateway, tmp_path: Path) -> None:
    """Another banyan.toml of the same routes, whose flags are in an Unleash that is not there."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    unleash = '[flags]\nsource = "unleash"\nurl = "http://127.0.0.1:9/api"\ntoken = "default:development.x"\nadmin_token = "*:*.secret"\n'
    (other / "banyan.toml").write_text(unleash + TOML.format(legacy=1, new=2))
    done = await flags(other, "list", "--admin", f"127.0.0.1:{running.admin}")
    assert done.returncode == 1, "that is not everything"
    assert done.stderr.startswith("note: Unleash at http://127.0.0.1:9/api can't be reached: ")
    assert f"Listed is what the gateway at 127.0.0.1:{running.admin} has" in done.stderr
    assert re.search(r"(?m)^reviews +on +reviews: who answers", done.stdout), done.stdout
    assert re.search(r"(?m)^reviews.shadow +not known", done.stdout)
    alone = await flags(other, "list", "--admin", "127.0.0.1:9")
    assert (alone.returncode, alone.stdout) == (2, "")
    assert "no gateway answers at 127.0.0.1:9" in alone.stderr
    assert "secret" not in done.stderr + done.stdout + alone.stderr


async def test_an_unleash_that_drips_does_not_keep_the_list_from_being_shown(running: Gateway, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    with unending(*DRIPPING["body"], pause=0.2) as place:
        unleash = f'[flags]\nsource = "unleash"\nurl = "{place.url}/api"\ntoken = "default:development.x"\nadmin_token = "*:*.secret"\n'
        (other / "banyan.toml").write_text(unleash + TOML.format(legacy=1, new=2))
        done = await flags(other, "list", "--admin", f"127.0.0.1:{running.admin}")
    assert (done.returncode, "did not give a whole answer within 10 s" in done.stderr) == (1, True), done.stderr
    assert re.search(r"(?m)^reviews +on +reviews: who answers", done.stdout), done.stdout


async def test_the_gateway_may_listen_on_a_unix_socket(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    try:
        head = f'[gateway]\nlisten = ["127.0.0.1:0"]\nadmin = "unix:{tmp_path}/admin.sock"\nworkers = 1\n'
        config = tmp_path / "banyan.toml"
        config.write_text(head + TOML.format(legacy=legacy.port, new=1))
        (tmp_path / "flags.json").write_text('{"version": 1, "features": []}')
        process = await asyncio.to_thread(
            start,
            "gateway",
            python("-m", "gateway.cli", "run", "--config", str(config)),
            log_dir=tmp_path,
            ready=listening,
        )
        try:
            assert f"; admin on unix:{tmp_path}/admin.sock" in process.log.read_text()
            done = await flags(tmp_path, "override", "reviews", "on", "--for", "1m")
            assert (done.returncode, done.stderr) == (0, "")
            assert f"unix:{tmp_path}/admin.sock: reviews is on for everybody" in done.stdout
        finally:
            await asyncio.to_thread(process.stop)
    finally:
        await legacy.stop()
