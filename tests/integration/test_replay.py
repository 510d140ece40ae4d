"""`banyan replay` as a process, against real upstreams: who is asked, with what, how fast, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from demo.processes import python
from tests.support.gateway import Exchange, Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{reviews}"
[identity]
source = "introspection"
stamp = {{ key = "0123456789abcdef0123456789abcdef" }}
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
rewrite = "/reviews/*"
host = "reviews.internal"
[routes.shadow.compare]
ignore = ["$.ignored"]
[[routes]]
name = "carts"
match = "/api/v1/carts"
candidate = "reviews"
[routes.shadow]
methods = ["GET", "POST"]
sandbox = true
sandbox_legacy = true
"""


class World:
    """Two upstreams whose answers a test says by path, and a folder with a banyan.toml."""

    def __init__(self) -> None:
        self.legacy, self.reviews = Upstream(self._answer), Upstream(self._answer)
        self.folder = Path()
        self.legacy_says: Any = {}
        self.reviews_says: Any = {}

    async def _answer(self, exchange: Exchange) -> None:
        upstream = self.legacy if any(exchange is each for each in self.legacy.requests) else self.reviews
        said = self.legacy_says if upstream is self.legacy else self.reviews_says
        target = exchange.line.split(b" ")[1].decode()
        value = said(target) if callable(said) else said
        if isinstance(value, float):
            await asyncio.sleep(value)
            value = {}
        status = "200 OK"
        if isinstance(value, tuple):
            status, value = value
        await exchange.answer(json.dumps(value).encode(), status, b"Content-Type: application/json\r\n")

    def begin(self, folder: Path, *lines: dict[str, Any] | str) -> None:
        self.folder = folder
        self.legacy_says = self.reviews_says = {}
        for upstream in (self.legacy, self.reviews):
            upstream.requests.clear()
        (folder / "banyan.toml").write_text(TOML.format(legacy=self.legacy.port, reviews=self.reviews.port))
        texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
        (folder / "t.jsonl").write_text("".join(f"{text}\n" for text in texts))

    async def replay(self, *options: str, recording: str = "t.jsonl") -> subprocess.CompletedProcess[str]:
        pace = [] if {"--rate", "--as-recorded"} & {*options} else ["--rate", "0"]
        command = python("-m", "gateway.cli", "replay", recording, *pace, *options)
        return await asyncio.to_thread(subprocess.run, command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)

    async def told(self, *options: str, recording: str = "t.jsonl") -> dict[str, Any]:
        done = await self.replay("--json", *options, recording=recording)
        assert done.returncode in (0, 1), done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert told["passed"] is (done.returncode == 0)
        return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[World]:
    world = World()
    for upstream in (world.legacy, world.reviews):
        await upstream.start()
    yield world
    for upstream in (world.legacy, world.reviews):
        await upstream.stop()


@pytest.fixture
def world(running: World, tmp_path: Path) -> World:
    running.begin(tmp_path)
    return running


def get(number: int, **more: Any) -> dict[str, Any]:
    return {"method": "GET", "target": f"/api/v1/reviews/{number}", "headers": [["Host", "shop.test"], ["Cookie", "s=1"]], **more}


REPORT = python("-m", "gateway.cli", "report", "reviews", "--json")


def begun(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_equal_answers_and_what_the_upstreams_get(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(30)))
    done = await world.replay("--noise", "0")
    assert done.returncode == 0, done.stderr
    assert "30 of 30" in done.stdout
    assert "match rate 100.00 %" in done.stdout
    assert len(world.legacy.requests) == len(world.reviews.requests) == 30
    for upstream, path, host in ((world.legacy, "/api/v1/reviews/7", "shop.test"), (world.reviews, "/reviews/7", "reviews.internal")):
        (request,) = [each for each in upstream.requests if each.line == f"GET {path} HTTP/1.1".encode()]
        assert request.header("Host") == [host]
        assert request.header("Banyan-Shadow") == ["1"]
        assert request.header("Cookie") == []
        assert request.header("X-Forwarded-Host") == ["shop.test"]
        assert request.header("X-Request-ID")[0].startswith("replay-")
        assert request.header("X-Request-ID")[0].endswith("-8")
        assert len(request.header("Banyan-Identity")) == 1
    ids = [{each.header("X-Request-ID")[0] for each in upstream.requests} for upstream in (world.legacy, world.reviews)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 30


async def test_differences_are_told_with_an_example_and_end_it_with_1(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(10)))
    world.legacy_says = lambda target: {"n": 1, "ignored": target}
    world.reviews_says = lambda target: {"n": 2 if target.endswith("/3") else 1, "ignored": 0}
    done = await world.replay()
    assert done.returncode == 1
    assert "reviews: not passed: 90.00 % match, 100.00 % is needed" in done.stdout
    assert "differs     1 x value $.n" in done.stdout
    assert "entry 4: GET /api/v1/reviews/3: legacy 200, candidate 200" in done.stdout
    assert "$.n: 1 became 2" in done.stdout
    assert (await world.replay("--min-match", "0.9")).returncode == 0
    assert (await world.replay("--min-match", "0.91")).returncode == 1


async def test_noise_is_no_difference(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(10)))
    clock = iter(range(10_000))
    world.legacy_says = world.reviews_says = lambda target: {"at": next(clock), "n": 1}
    told = await world.told()
    (route,) = told["routes"]
    assert (told["match_rate"], route["matched"], route["matched_as_noise"], route["matched_outright"]) == (1.0, 10, 10, 0)
    assert [(line["kind"], line["path"], line["state"]) for line in route["signatures"]] == [("value", "$.at", "noise")]
    assert route["noise_different"] == route["noise_pairs"] >= 2
    told = await world.told("--noise", "0")
    assert told["match_rate"] == 0


async def test_the_forms_say_the_same(world: World, tmp_path: Path) -> None:
    world.begin(
        tmp_path, *(get(number) for number in range(4)), {"method": "GET", "target": "/api/v1/carts"}, "broken", get(1, method="PUT")
    )
    world.legacy_says, world.reviews_says = {"n": "<b>"}, {"n": "<i>"}
    told = await world.told("--noise", "0")
    assert (told["entries"], told["unread"], told["compared"], told["matched"]) == (7, 1, 5, 0)
    assert told["troubles"] == [{"entry": 6, "why": "the line is no JSON"}]
    carts, reviews = told["routes"]
    assert (carts["route"], reviews["route"]) == ("carts", "reviews")
    assert (reviews["eligible"], reviews["compared"], reviews["skipped"]) == (5, 4, {"unsafe": 1})
    assert reviews["reconciliation"]["adds_up"]
    assert reviews["sides"]["shadow-legacy"]["asked"] == 4
    assert sum(point["mismatched"] for point in reviews["series"]["points"]) == 4
    junit = ET.fromstring((await world.replay("--noise", "0", "--format", "junit")).stdout)  # noqa: S314 - our own
    assert [suite.get("name") for suite in junit] == ["banyan.carts", "banyan.reviews"]
    assert (junit.get("tests"), junit.get("failures")) == ("4", "4")
    done = await world.replay("--noise", "0", "--format", "html", "--route", "reviews", "--output", "r.html")
    assert (done.returncode, done.stdout) == (1, "")
    page = (world.folder / "r.html").read_text()
    assert "Not enough of it matches" in page
    assert "&lt;i&gt;" in page
    assert "<i>" not in page


async def test_an_upstream_that_is_gone_is_no_match(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(5)))
    config = world.folder / "banyan.toml"
    config.write_text(config.read_text().replace(f":{world.reviews.port}", ":1"))
    done = await world.replay("--noise", "0")
    assert done.returncode == 1
    assert "5 x unanswered refused" in done.stdout
    config.write_text(config.read_text().replace(f":{world.legacy.port}", ":1"))
    done = await world.replay("--noise", "0")
    assert done.returncode == 1
    assert "nothing was compared" in done.stdout
    assert "legacy gave no answer to 5: refused" in done.stdout


async def test_one_that_was_compared_stands_for_no_five_that_were_not(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(6)))
    world.legacy_says = world.reviews_says = lambda target: {"a": "x" * (10 if target.endswith("1") else 300_000)}
    done = await world.replay("--noise", "0", "--route", "reviews")
    assert done.returncode == 1
    assert "not passed: 16.66 % of what was asked could be compared, 50.00 % is needed" in done.stdout


async def test_an_upstream_that_hangs_is_waited_for_as_configured(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(4)))
    config = world.folder / "banyan.toml"
    long = f'reviews = {{ url = "http://127.0.0.1:{world.reviews.port}", response_timeout = "300ms" }}'
    config.write_text(config.read_text().replace(f'reviews = "http://127.0.0.1:{world.reviews.port}"', long))
    world.reviews_says = lambda target: 5.0 if target.endswith("/2") else {}
    told = await world.told("--noise", "0")
    assert (told["compared"], told["matched"]) == (4, 3)
    assert [(line["kind"], line["path"]) for line in told["routes"][0]["signatures"]] == [("unanswered", "timeout")]


async def test_what_is_too_large_is_skipped_and_its_connection_used_no_more(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(6)))
    world.legacy_says = world.reviews_says = lambda target: {"a": "x" * (300_000 if target.endswith(("1", "4")) else 10)}
    told = await world.told("--concurrency", "1", "--noise", "0")
    (route,) = told["routes"]
    assert (route["compared"], route["matched"], route["skipped"]) == (4, 4, {"too_large": 2})
    assert route["reconciliation"]["adds_up"]


async def test_connections_are_kept(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(50)))
    before = world.legacy.connections
    await world.told("--concurrency", "4", "--noise", "0")
    assert world.legacy.connections - before <= 4


async def test_nobody_but_configured_upstreams_is_asked(world: World, tmp_path: Path) -> None:
    elsewhere = Upstream(world._answer)
    await elsewhere.start()
    try:
        world.begin(
            tmp_path, *(get(number) | {"target": f"http://127.0.0.1:{elsewhere.port}/api/v1/reviews/{number}"} for number in range(3))
        )
        assert (await world.told("--noise", "0"))["compared"] == 3
        assert elsewhere.connections == 0
    finally:
        await elsewhere.stop()


async def test_writes_go_to_sandboxes_alone(world: World, tmp_path: Path) -> None:
    post = {"method": "POST", "headers": [["Content-Type", "text/plain"]], "body": "one=1"}
    world.begin(tmp_path, get(1), post | {"target": "/api/v1/carts"}, post | {"target": "/api/v1/reviews/1"})
    await world.told("--noise", "1")
    assert {each.line.split(b" ")[0] for each in (*world.legacy.requests, *world.reviews.requests)} == {b"GET"}
    world.begin(tmp_path, post | {"target": "/api/v1/carts"}, post | {"target": "/api/v1/reviews/1"})
    told = await world.told("--unsafe", "--noise", "1")
    assert told["compared"] == 1
    for upstream in (world.legacy, world.reviews):
        (request,) = upstream.requests  # and never a second time, for noise
        assert (request.line, request.body, request.header("Banyan-Shadow")) == (b"POST /api/v1/carts HTTP/1.1", b"one=1", ["1"])


async def test_the_stamp_says_who_calls(world: World, tmp_path: Path) -> None:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    world.begin(tmp_path, *(get(number) for number in range(6)))
    await world.told("--user", "17", "--user", "18", "--noise", "0")
    key = OctKey.import_key("0123456789abcdef0123456789abcdef")
    for upstream, audience in ((world.legacy, "legacy"), (world.reviews, "reviews")):
        claims = [jwt.decode(each.header("Banyan-Identity")[0], key).claims for each in upstream.requests]
        assert {each["aud"] for each in claims} == {audience}
        assert sorted(each["sub"] for each in claims) == ["17"] * 3 + ["18"] * 3


async def test_where_no_stamp_says_who_calls_that_is_said(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, get(1))
    path = tmp_path / "banyan.toml"
    path.write_text(path.read_text().replace('name = "reviews"\n', 'name = "reviews"\nidentity = "ignored"\n'))
    said = 'banyan: --user: identity = "ignored" on reviews: there upstreams are told of nobody\n'
    assert (await world.replay("--user", "17", "--noise", "0")).stderr.count(said) == 1
    assert (await world.replay("--user", "17", "--noise", "0", "--route", "carts")).stderr.count(said) == 0
    assert (await world.replay("--noise", "0")).stderr.count(said) == 0


async def test_credentials_of_the_recording_are_sent_only_when_asked(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, get(1))
    await world.told("--credentials", "--noise", "0", "--host", "other.test")
    (request,) = world.legacy.requests
    assert (request.header("Cookie"), request.header("Host")) == (["s=1"], ["other.test"])


async def test_the_recorded_answer_takes_legacys_place(world: World, tmp_path: Path) -> None:
    answer = {"status": 200, "answer_headers": [["Content-Type", "application/json"]], "answer_body": '{"n": 1}'}
    redacted = answer | {"answer_body": '{"n": "redacted:0123456789abcdef"}'}
    world.begin(tmp_path, get(1, **answer), get(2, **answer), get(3), get(4, **redacted))
    world.legacy_says, world.reviews_says = {"n": 9}, lambda target: {"n": 1 if target.endswith("1") else 2}
    told = await world.told("--against", "recorded,candidate")
    assert world.legacy.requests == []
    (route,) = told["routes"]
    assert (route["compared"], route["matched"], route["skipped"]) == (2, 1, {"not_recorded": 2})
    told = await world.told("--against", "recorded,legacy")
    assert (told["routes"][0]["compared"], told["routes"][0]["matched"]) == (2, 0)


async def test_the_pace(world: World, tmp_path: Path) -> None:
    # No assertion on how fast it can be: only that it is no faster than it may be.
    world.begin(tmp_path, *(get(number, at=1e9 + number * 0.5) for number in range(5)))
    began = time.monotonic()
    await world.replay("--rate", "10", "--noise", "0")
    assert time.monotonic() - began >= 0.4
    began = time.monotonic()
    await world.replay("--as-recorded", "--speed", "2", "--noise", "0")
    assert time.monotonic() - began >= 1.0
    times = [0.0]
    world.reviews.requests.clear()

    async def noted(exchange: Exchange) -> None:
        times.append(time.monotonic())
        await world._answer(exchange)

    world.reviews.handler = noted
    try:
        await world.replay("--as-recorded", "--noise", "0")
    finally:
        world.reviews.handler = world._answer
    assert times[-1] - times[1] >= 1.9


async def test_no_more_at_once_than_it_may(world: World, tmp_path: Path) -> None:
    under_way = most = 0

    async def slowly(exchange: Exchange) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        await world._answer(exchange)

    world.begin(tmp_path, *(get(number) for number in range(40)))
    world.reviews.handler = slowly
    try:
        assert (await world.told("--concurrency", "3", "--noise", "0"))["compared"] == 40
    finally:
        world.reviews.handler = world._answer
    assert 1 <= most <= 3


async def test_an_interrupted_one_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    lines = [get(number) for number in range(60)]
    lines[10]["method"] = "PUT"
    world.begin(tmp_path, *lines, "broken")
    world.reviews_says = lambda target: {"n": 1} if target.endswith("7") else {}
    command = python("-m", "gateway.cli", "replay", "t.jsonl", "--rate", "20", "--state", "state", "--noise", "0")
    process = begun(command, world.folder)
    try:
        while len(world.reviews.requests) < 15:
            await asyncio.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted after" in errors
    assert "--state state --resume" in errors
    assert "Traceback" not in errors
    asked = len(world.reviews.requests)
    assert asked < 50
    told = await world.told("--state", "state", "--resume", "--noise", "0")
    assert len(world.reviews.requests) == len({each.line for each in world.reviews.requests}) == 59
    assert (told["entries"], told["unread"], told["compared"], told["matched"]) == (61, 1, 59, 53)
    assert told["routes"][0]["skipped"] == {"unsafe": 1}
    # All of it is done: nobody is asked again, and it says the same.
    again = await world.told("--state", "state", "--resume", "--noise", "0")
    assert len(world.reviews.requests) == 59
    assert (again["compared"], again["matched"]) == (59, 53)


async def test_a_second_signal_ends_it_at_once(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(5)))
    world.reviews_says = 4.0
    process = begun(python("-m", "gateway.cli", "replay", "t.jsonl", "--rate", "0"), world.folder)
    try:
        while len(world.reviews.requests) < 5:
            await asyncio.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        assert process.poll() is None  # it waits for what is under way
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, errors) == (130, "", "")


async def test_a_kill_counts_nothing_twice(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(400)))
    command = python("-m", "gateway.cli", "replay", "t.jsonl", "--rate", "40", "--state", "state", "--noise", "0")
    process = begun(command, world.folder)
    try:
        deadline = time.monotonic() + 60
        while json.loads((world.folder / "state").read_text())["tally"]["read"] == 0 if (world.folder / "state").exists() else True:
            await asyncio.sleep(0.05)
            assert time.monotonic() < deadline
    finally:
        process.kill()
        process.communicate()
    told = await world.told("--state", "state", "--resume", "--noise", "0")
    assert (told["entries"], told["compared"], told["matched"]) == (400, 400, 400)
    assert len({each.line for each in world.reviews.requests}) == 400


async def test_what_is_found_may_be_stored(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(20)))
    world.reviews_says = lambda target: {"n": 1} if target.endswith("7") else {}
    await world.told("--store", "--noise", "0")
    told = json.loads(await asyncio.to_thread(subprocess.check_output, REPORT, cwd=world.folder, text=True, timeout=60))
    assert (told["compared"], told["matched"], told["eligible"]) == (20, 18, 20)
    assert told["reconciliation"]["adds_up"]
    with closing(sqlite3.connect(world.folder / "var" / "banyan.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM shadow_sample").fetchone()[0] >= 1


async def test_a_slow_comparison_is_somebody_elses(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, get(1), get(2))
    world.legacy_says = {"list": [{"id": number, "text": "x" * 20} for number in range(3000)]}
    world.reviews_says = {"list": [{"id": number, "text": "x" * 20} for number in reversed(range(3000))]}
    told = await world.told("--noise", "0")
    assert (told["compared"], told["matched"]) == (2, 0)


async def test_secrets_are_nowhere_in_a_report(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, *(get(number) for number in range(3)))
    world.legacy_says, world.reviews_says = {"email": "a@secret.test", "n": 1}, {"email": "b@secret.test", "n": 2}
    for form in ("text", "json", "junit", "html"):
        done = await world.replay("--noise", "0", "--format", form, "--route", "reviews", "--state", f"state-{form}")
        assert "secret.test" not in done.stdout + done.stderr + (world.folder / f"state-{form}").read_text()
        assert "$.email" in done.stdout


WRONG = {
    "--route nowhere": "there is no route 'nowhere'; there are: reviews, carts",
    "--against candidate,legacy": "write legacy,candidate or recorded,candidate",
    "--against legacy,legacy": "write legacy,candidate or recorded,candidate",
    "--rate -1": "--rate -1",
    "--speed 2": "--speed means nothing without --as-recorded",
    "--as-recorded --speed 0": "--speed 0",
    "--concurrency 0": "--concurrency 0",
    "--noise 2": "--noise 2",
    "--min-match 99": "--min-match 99",
    "--store --against recorded,legacy": "with --against recorded,legacy leave it out",
    "--store --against recorded,candidate": "with --against recorded,candidate leave it out",
    "--resume": "name it with --state",
    "--state nothing --resume": "nothing to go on from",
    "--state t.jsonl": "t.jsonl is there already",
    "--state t.jsonl --resume": "no state of a replay",
    "--format html": "name it with --route",
    "--json --format junit": "does not go with",
    "--config nowhere.toml": "nowhere.toml",
    "--output nowhere/report": "there is no folder nowhere",
    "--state nowhere/state": "the state cannot be kept",
}


@pytest.mark.parametrize("options", WRONG)
async def test_wrong_use_is_2_and_says_what_to_do(world: World, tmp_path: Path, options: str) -> None:
    world.begin(tmp_path, get(1))
    done = await world.replay(*options.split())
    assert done.returncode == 2, done.stdout
    assert WRONG[options] in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_host_that_no_field_can_have_is_2(world: World, tmp_path: Path) -> None:
    world.begin(tmp_path, get(1))
    for host in ("\udcff", "caf\u00e9.test", "a b", "a\r\nCookie: x", "a\x7f", " "):
        done = await world.replay("--host", host)
        assert done.returncode == 2, (host, done.stdout)
        assert "write a name as in shop.example" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [("gone", None, "No such file"), ("empty", b"", "it is empty"), ("junk", b"\x00\x01\x02", "no format that is known")],
)
async def test_what_is_no_recording_is_2(world: World, tmp_path: Path, name: str, data: bytes | None, why: str) -> None:
    world.begin(tmp_path)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    done = await world.replay(recording=name)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
