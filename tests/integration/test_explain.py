"""POST /explain says what the running gateway does: each answer is held against the same request, sent for real."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio

TOML = """
[gateway]
expose_decision = true
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[flags]
headers = ["x-app-version"]
[identity]
source = "introspection"
path = "/who"
claims = ["plan"]
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
methods = ["GET", "HEAD"]
candidate = "new"
rewrite = "/reviews/*"
[[routes]]
name = "items"
match = "/api/v1/items/{{id}}"
candidate = "new"
fallback = false
[routes.shadow]
methods = ["GET"]
sample = 0.5
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
identity = "required"
[[routes]]
name = "public"
match = "/public/*"
candidate = "new"
identity = "ignored"
[[routes]]
name = "dice"
match = "/dice"
candidate = "new"
[[routes]]
name = "orders"
match = "/api/v1/orders/*"
candidate = "new"
"""

ROLLOUT = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "reviews"}}
APP = {"name": "default", "constraints": [{"contextName": "x-app-version", "operator": "SEMVER_GT", "value": "4.0.0"}]}
PRO = {"name": "default", "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro"]}]}
POST = {"name": "default", "constraints": [{"contextName": "method", "operator": "IN", "values": ["POST"]}]}
FEATURES = [
    {"name": "reviews", "enabled": True, "strategies": [APP, ROLLOUT]},
    {"name": "reviews.shadow", "enabled": False, "strategies": []},
    {"name": "items", "enabled": True, "strategies": [PRO, POST]},
    {"name": "items.shadow", "enabled": True, "strategies": []},
    {"name": "dice", "enabled": True, "strategies": [{"name": "gradualRolloutRandom", "parameters": {"percentage": "50"}}]},
    {"name": "orders.shadow", "enabled": True, "strategies": [{"name": "ours"}]},
]


async def legacy(exchange: Exchange) -> None:
    """Knows whose cookie it is: it says so itself."""
    if exchange.line.startswith(b"GET /who"):
        user, _, plan = exchange.header("Cookie")[0].partition("=")[2].partition("-")
        await exchange.answer(json.dumps({"authenticated": True, "user_id": user, "claims": {"plan": plan}}).encode())
    else:
        await exchange.answer()


async def ask(started: Gateway, question: object) -> tuple[int, Any]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started.admin}", timeout=60) as client:
        answer = await client.post("/explain", content=question if isinstance(question, bytes) else orjson.dumps(question))
    return answer.status_code, answer.json()


REQUESTS = [
    ("GET", "/", {}),
    ("GET", "/api/v1/reviews/3?page=2", {}),
    ("POST", "/api/v1/reviews/3", {"user": "1"}),
    ("GET", "/api/v1/reviews/3", {"headers": [["X-App-Version", "4.2.0"]]}),
    ("GET", "/api/v1/reviews/3", {"headers": [["x-app-version", "3.9.0"], ["accept", "x"]]}),
    *(("GET", f"/api/v1/reviews/{user}", {"user": str(user)}) for user in range(1, 13)),
    ("GET", "/api/v1/items/7", {"user": "5", "claims": {"plan": "pro"}}),
    ("GET", "/api/v1/items/7", {"user": "5", "claims": {"plan": "free"}}),
    ("POST", "/api/v1/items/7", {"user": "5"}),
    ("GET", "/api/v1/items/7/8", {"user": "5"}),
    ("GET", "/api/v1/items/%2e%2e/reviews/3", {}),
    ("GET", "/api/v1/orders/1", {"user": "1"}),
    ("GET", "/account/1", {"user": "1"}),
    ("GET", "/public/1", {}),
]


async def test_it_is_what_happens(tmp_path: Path) -> None:
    old, new = Upstream(legacy), Upstream(ok)
    await old.start()
    await new.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=old.port, new=new.port)) as started:
            started.flags.write_text(json.dumps({"version": 1, "features": FEATURES}))
            await started.decided(reviews=True, items=True)
            said = {}
            for method, target, who in REQUESTS:
                status, explained = await ask(started, {"method": method, "target": target, **who})
                assert status == 200, explained
                decision = explained["decision"]
                route = explained["route"]["name"] if explained["route"] else "-"
                head = "".join(f"{name}: {value}\r\n" for name, value in who.get("headers", ()))
                if "user" in who:
                    head += f"Cookie: sessionid={who['user']}-{who.get('claims', {}).get('plan', '')}\r\n"
                body = "Content-Length: 0\r\n" if method == "POST" else ""
                new.requests.clear()
                answer = await started.request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{head}{body}\r\n".encode())
                shown = (answer.header("Banyan-Route") or "").split("; ")
                expected = [route, f"served-by={decision['served_by']}", f"reason={decision['reason']}"]
                assert shown[:3] == expected, (method, target, who)
                if decision["served_by"] == "candidate":
                    assert new.requests[0].line.split()[1].decode() == decision["target"]
                said[method, target, who.get("user"), str(who.get("headers", ""))] = explained
            sides = {explained["decision"]["served_by"] for (_, _, user, _), explained in said.items() if user}
            assert sides == {"legacy", "candidate"}
            await explained_well(started)
            thrown = [(await ask(started, {"target": "/dice"}))[1] for _ in range(20)]
            assert {each["decision"]["served_by"] for each in thrown} == {"legacy", "candidate"}  # all alike: 1 in 500,000
            for each in thrown:
                assert each["flags"][0]["explanation"]["chance"] is True
                assert (each["decision"]["served_by"] == "candidate") is each["flags"][0]["explanation"]["enabled"]
    finally:
        await old.stop()
        await new.stop()


async def explained_well(started: Gateway) -> None:
    _, app = await ask(started, {"target": "/api/v1/reviews/3?page=2", "headers": [["X-App-Version", "4.2.0"]]})
    route = {
        "name": "reviews",
        "match": "/api/v1/reviews/*",
        "methods": ["GET", "HEAD"],
        "candidate": "new",
        "priority": "normal",
        "rate_limit": None,
    }
    assert app["route"] == route
    assert app["decision"] == {
        "serve": "new",
        "served_by": "candidate",
        "target": "/reviews/3?page=2",
        "host": None,
        "fallback": "legacy",
        "shadow": None,
        "shadow_target": None,
        "reason": "flag",
    }
    serve, shadow = app["flags"]
    assert (serve["name"], serve["role"], serve["override"], serve["explanation"]["decided"]) == ("reviews", "serve", None, 1)
    assert (shadow["name"], shadow["role"], shadow["explanation"]["state"]) == ("reviews.shadow", "shadow", "disabled")
    assert app["context"]["properties"] == {"route": "reviews", "method": "GET", "x-app-version": "4.2.0"}
    assert app["flag_state"]["source"] == "file"
    for written, meant in (("::ffff:192.0.2.7", "192.0.2.7"), ("2001:DB8:0::7", "2001:db8::7"), ("unix", "unix")):
        _, far = await ask(started, {"target": "/api/v1/reviews/3", "address": written})
        assert far["context"]["remoteAddress"] == meant
    _, items = await ask(started, {"target": "/api/v1/items/7", "method": "POST", "user": "5", "claims": {"plan": "pro", "team": "x"}})
    assert items["decision"]["fallback"] is None
    assert items["decision"]["shadow"] == "legacy"
    assert items["notes"] == [
        "the claim 'team' is not among identity.claims: flags are not told of it",
        "nothing is compared: shadow.methods has GET, not POST",
    ]
    _, items = await ask(started, {"target": "/api/v1/items/7", "headers": [["Cookie", "a=b; sessionid=x"]]})
    assert "legacy is not asked whose credential that is: say" in items["notes"][0]
    assert "a share of 0.5" in items["notes"][1]
    _, orders = await ask(started, {"target": "/api/v1/orders/1"})
    assert [(each["flag"], each["problem"][:30]) for each in orders["problems"]] == [
        ("orders", "there is no such flag in the f"),
        ("orders.shadow", "the strategy 'ours' is not one"),
    ]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started.admin}") as client:
        body = {"enabled": True, "seconds": 60, "by": "ana", "why": "to see"}
        assert (await client.put("/flags/overrides/orders", content=orjson.dumps(body))).status_code == 200
    _, orders = await ask(started, {"target": "/api/v1/orders/1"})
    assert orders["decision"]["reason"] == "override"
    assert orders["flags"][0]["override"]["by"] == "ana"
    assert orders["flags"][0]["explanation"]["overridden"] is True
    answer = await started.request(b"GET /api/v1/orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "served-by=candidate; reason=override" in (answer.header("Banyan-Route") or "")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (b"", "truncated"),
        ({}, "target"),
        ({"target": "reviews"}, "no path"),
        ({"target": "/a b"}, "no path"),
        ({"target": "/", "method": "GET /"}, "no method"),
        ({"target": "/", "headers": [["a:", "b"]]}, "no header field"),
        ({"target": "/", "headers": [["a", "b\r\nc: d"]]}, "no header field"),
        ({"target": "/", "usr": "1"}, "usr"),
        ({"target": "/", "user": 1}, "user"),
        ({"target": "/", "user": ""}, "nobody"),
        ({"target": "/", "session": "x" * 257}, "nobody"),
        ({"target": "/", "address": "192.0.2.7:80"}, "no address"),
        ({"target": "/", "address": ""}, "no address"),
    ],
)
async def test_what_is_no_question(question: object, says: str) -> None:
    from gateway.explain import QuestionError, asked

    with pytest.raises(QuestionError, match=says):
        await asyncio.to_thread(asked, question if isinstance(question, bytes) else orjson.dumps(question))


HOP = {"name": "default", "constraints": [{"contextName": "x-app-version", "operator": "IN", "values": ["4.2"]}]}
REFUSED: list[tuple[str, str, list[list[str]]]] = [
    ("TRACE", "/api/v1/reviews/3", []),
    ("CONNECT", "/api/v1/reviews/3", []),
    ("A" * 33, "/api/v1/reviews/3", []),
    ("GET", "/api/v1/reviews/%00", []),
    ("GET", "/" + "x" * 9000, []),
    ("GET", "/api/v1/reviews/3", [["Host", "a"], ["Host", "b"]]),
    ("GET", "/api/v1/reviews/3", [["Via", "1.1 banyan"]]),
    ("GET", "/api/v1/reviews/3", [["Expect", "more"]]),
    ("GET", "/api/v1/reviews/3", [["Content-Length", "999999999999"]]),
    ("GET", "/api/v1/reviews/3", [["X-A", "b"]] * 101),
    ("GET", "/api/v1/reviews/3", [["X-A", "b" * 33_000]]),
]
CUT: list[list[list[str]]] = [
    [["X-App-Version", "4.2"]],
    [["Connection", "X-App-Version"], ["X-App-Version", "4.2"]],
    [["connection", "close, x-app-version"], ["x-app-version", "4.2"]],
    [["X_App-Version", "4.2"]],
    [["X-Forwarded-For", "192.0.2.1"], ["X-App-Version", "4.2"]],
]


async def test_what_the_gateway_refuses_and_cuts(tmp_path: Path) -> None:
    old, new = Upstream(ok), Upstream(ok)
    await old.start()
    await new.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=old.port, new=new.port)) as started:
            started.flags.write_text(json.dumps({"version": 1, "features": [{"name": "reviews", "enabled": True, "strategies": [HOP]}]}))
            await started.decided(reviews=True)
            for method, target, headers in REFUSED:
                status, explained = await ask(started, {"method": method, "target": target, "headers": headers})
                assert status == 200, explained
                assert (explained["route"], explained["decision"], explained["flags"]) == (None, None, [])
                host = "" if headers and headers[0][0] == "Host" else "Host: a\r\n"
                head = "".join(f"{name}: {value}\r\n" for name, value in headers)
                answer = await started.request(f"{method} {target} HTTP/1.1\r\n{host}{head}\r\n".encode())
                refused = explained["refused"]
                assert (answer.status, answer.header("Banyan-Error")) == (refused["status"], refused["code"]), (
                    method,
                    target[:30],
                    headers[:2],
                )
                assert json.loads(answer.body or b"{}").get("detail", refused["detail"]) == refused["detail"]
            sides = []
            for headers in CUT:
                _, explained = await ask(started, {"target": "/api/v1/reviews/3", "headers": headers})
                assert explained["refused"] is None
                head = "".join(f"{name}: {value}\r\n" for name, value in headers)
                answer = await started.request(f"GET /api/v1/reviews/3 HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())
                side = explained["decision"]["served_by"]
                assert f"served-by={side};" in (answer.header("Banyan-Route") or ""), headers
                sides.append(side)
                assert ("X-Forwarded-For is believed" in "".join(explained["notes"])) is (headers[0][0] == "X-Forwarded-For")
            assert sides == ["candidate", "legacy", "legacy", "legacy", "candidate"]
    finally:
        await old.stop()
        await new.stop()


async def test_claims_are_a_users_and_short(tmp_path: Path) -> None:
    async with gateway(tmp_path, TOML.format(legacy=1, new=2)) as started:
        started.flags.write_text(json.dumps({"version": 1, "features": [{"name": "items", "enabled": True, "strategies": [PRO]}]}))
        await started.decided(items=True)
        about = {"target": "/api/v1/items/7"}
        _, users = await ask(started, {**about, "user": "5", "claims": {"plan": "pro"}})
        _, nobodys = await ask(started, {**about, "claims": {"plan": "pro"}})
        _, long = await ask(started, {**about, "user": "5", "claims": {"plan": "x" * 257}})
    assert [each["decision"]["served_by"] for each in (users, nobodys, long)] == ["candidate", "legacy", "legacy"]
    assert [[note for note in each["notes"] if "claim" in note] for each in (users, nobodys, long)] == [
        [],
        ["the claim 'plan' is nobody's: legacy makes claims of users only; say who it is with --user"],
        ["the claim 'plan' is longer than 256 characters: flags are not told of it"],
    ]
    assert "plan" not in nobodys["context"]["properties"]
    assert "plan" not in long["context"]["properties"]


def by_session(percent: int) -> dict[str, Any]:
    strategy = {"name": "flexibleRollout", "parameters": {"rollout": str(percent), "stickiness": "sessionId", "groupId": "g"}}
    return {"name": "reviews", "enabled": True, "strategies": [strategy]}


async def test_a_visitor_without_a_cookie_is_made_up_as_the_gateway_does(tmp_path: Path) -> None:
    toml = TOML.replace('claims = ["plan"]', 'claims = ["plan"]\nvisitor = {{ key = "0123456789abcdef" }}')
    toml += '[[routes]]\nname = "pay"\nmatch = "/pay"\nsplit = {{ new = 50, legacy = 50 }}\n'
    old, new = Upstream(legacy), Upstream(ok)
    await old.start()
    await new.start()
    try:
        async with gateway(tmp_path, toml.format(legacy=old.port, new=new.port)) as started:

            async def sides(target: str, **more: object) -> set[tuple[str, bool]]:
                found = [(await ask(started, {"target": target, **more}))[1] for _ in range(20)]
                assert {"a new visitor was made up" in "".join(each["notes"]) for each in found} == {not more}
                return {(each["decision"]["served_by"], each["flags"][0]["explanation"]["chance"]) for each in found}

            async def sent(target: str, cookie: str = "") -> tuple[str, str]:
                answer = await started.request(f"GET {target} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n".encode())
                side = re.search("served-by=([a-z]+)", answer.header("Banyan-Route") or "")
                assert side
                return side[1], (answer.header("Set-Cookie") or "").partition(";")[0]

            target = "/api/v1/reviews/3"
            started.flags.write_text(json.dumps({"version": 1, "features": [by_session(100)]}))
            await started.decided(reviews=True)
            assert (await sent(target))[0] == "candidate"
            assert await sides(target) == {("candidate", False)}
            assert await sides("/api/v1/orders/1", session="x") == {("legacy", False)}
            before = (await asyncio.to_thread(started.get, "/flags"))["revision"]
            started.flags.write_text(json.dumps({"version": 1, "features": [by_session(50)]}))
            for _ in range(100):
                now = await asyncio.to_thread(started.get, "/flags")
                if now["revision"] != before and all(now["workers"].values()):
                    break
                await asyncio.sleep(0.05)
            assert await sides(target) == {("candidate", True), ("legacy", True)}  # all alike: 1 in 500,000
            assert {side for side, _ in await sides("/pay")} == {"candidate", "legacy"}
            for _ in range(6):
                side, cookie = await sent(target)
                assert await sides(target, headers=[["Cookie", cookie]]) == {(side, False)}
    finally:
        await old.stop()
        await new.stop()


async def test_explanations_keep_nobody_else_waiting(tmp_path: Path) -> None:
    many = [{"contextName": "x-app-version", "operator": "NOT_IN", "values": [f"v{number}"]} for number in range(1500)]
    async with gateway(tmp_path, TOML.format(legacy=1, new=2)) as started:
        features = [{"name": "orders", "enabled": True, "strategies": [{"name": "default", "constraints": many}]}]
        started.flags.write_text(json.dumps({"version": 1, "features": features}))
        await started.decided(orders=True)
        ended: list[int] = []

        async def one() -> None:
            ended.append((await ask(started, {"target": "/api/v1/orders/1"}))[0])

        asked = [asyncio.create_task(one(), name=f"explain {number}") for number in range(20)]
        while 503 not in ended:
            await asyncio.sleep(0.01)
            assert not all(task.done() for task in asked)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started.admin}", timeout=10) as client:
            body = {"enabled": False, "seconds": 60, "by": "ana", "why": "to see"}
            assert (await client.put("/flags/overrides/orders", content=orjson.dumps(body))).status_code == 200
        assert [task for task in asked if not task.done()]
        await asyncio.gather(*asked)
    assert sorted(set(ended)) == [200, 503]
    assert ended.count(200) >= 9  # one was worked out, and eight waited


async def test_who_is_not_let_in(tmp_path: Path) -> None:
    old, new = Upstream(legacy), Upstream(ok)
    await old.start()
    await new.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=old.port, new=new.port), account=True, public=True) as started:
            cases: list[tuple[list[list[str]], str, int]] = [
                ([], "nobody", 401),
                ([["Cookie", "theme=dark"]], "nobody", 401),
                ([["Cookie", "sessionid=1; sessionid=2"]], "refused", 401),
            ]
            for headers, standing, status in cases:
                _, explained = await ask(started, {"target": "/account/1", "headers": headers})
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
                answer = await started.request(f"GET /account/1 HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
                assert (explained["identity"]["standing"], explained["decision"], explained["flags"]) == (standing, None, [])
                assert explained["refused"] == {
                    "status": answer.status,
                    "code": answer.header("Banyan-Error"),
                    "detail": json.loads(answer.body)["detail"],
                }
                assert answer.status == status
            _, unasked = await ask(started, {"target": "/account/1", "headers": [["Cookie", "sessionid=x"]]})
            assert unasked["identity"] == {
                "need": "required",
                "source": "introspection",
                "cookie": "sessionid",
                "scheme": "",
                "standing": "not-asked",
                "why": "",
            }
            assert "which this route requires" in unasked["notes"][0]
            _, alice = await ask(started, {"target": "/account/1", "user": "7"})
            assert (alice["identity"]["standing"], alice["decision"]["served_by"]) == ("known", "candidate")
            _, public = await ask(started, {"target": "/public/1", "user": "7"})
            assert (public["identity"], public["context"]["userId"]) == (None, None)
            assert public["notes"] == ["nobody asks who calls there: flags are told of no user and no session"]
    finally:
        await old.stop()
        await new.stop()
