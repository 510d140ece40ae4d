"""`banyan flags` on the real Unleash 8.2: what people configured there stays, and what goes wrong is said."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import python
from demo.unleash import RunningUnleash
from flags.admin import AdminError, ArchivedError, FlagState, UnleashAdmin
from tests.support.serving import answering

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]


@dataclass
class Api:
    """Unleash's own, as its UI uses it."""

    client: httpx.Client

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.request(method, path, json=body).raise_for_status()
        return answer.json() if answer.content else None

    def make(self, name: str, **more: object) -> None:
        self("POST", "/admin/projects/default/features", {"name": name, **more})

    def strategy(self, name: str, /, **more: object) -> str:
        body = {"name": "flexibleRollout", "parameters": {"rollout": "10", "stickiness": "userId", "groupId": "cohort"}, **more}
        return str(self("POST", f"/admin/projects/default/features/{name}/environments/development/strategies", body)["id"])

    def strategies(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("GET", f"/admin/projects/default/features/{name}/environments/development/strategies")
        return found

    def archive(self, name: str) -> None:
        self("DELETE", f"/admin/projects/default/features/{name}")

    def events(self) -> int:
        return int(self("GET", "/admin/events?limit=1")["events"][0]["id"])


@pytest.fixture
def api(unleash: RunningUnleash) -> Iterator[Api]:
    with httpx.Client(base_url=unleash.api_url, headers={"Authorization": unleash.admin_token}, timeout=10) as client:
        yield Api(client)


@pytest.fixture
def admin(unleash: RunningUnleash) -> Iterator[UnleashAdmin]:
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as found:
        yield found


@dataclass
class Banyan:
    folder: Path
    secrets: tuple[str, ...]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = python("-m", "gateway.cli", "flags", *arguments, "--config", str(self.folder / "banyan.toml"))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert not [secret for secret in self.secrets if secret in done.stdout + done.stderr]
        return done


def banyan(folder: Path, unleash: RunningUnleash, *routes: str, **flags: str) -> Banyan:
    """Whose routes are these."""
    settings = {
        "source": "unleash",
        "url": unleash.api_url,
        "token": unleash.client_token,
        "admin_token": unleash.admin_token,
        **flags,
    }
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items() if value)
    tables = "".join(f'[[routes]]\nname = "{name}"\nmatch = "/{name}/*"\ncandidate = "new"\n' for name in routes)
    (folder / "banyan.toml").write_text(
        f'[gateway]\nadmin = "127.0.0.1:0"\n[flags]\n{lines}\n[upstreams]\nlegacy = "http://127.0.0.1:1"\nnew = "http://127.0.0.1:2"\n{tables}'
    )
    return Banyan(folder, (unleash.client_token, unleash.admin_token))


def test_sync_makes_types_describes_and_tags_once(unleash: RunningUnleash, api: Api, tmp_path: Path) -> None:
    flags = banyan(tmp_path, unleash, "sync-a", "sync-b")
    api.make("sync-b", description="somebody's own", type="experiment")
    identity = api.strategy("sync-b")
    api("POST", "/admin/projects/default/features/sync-b/environments/development/on")
    dry = flags("sync", "--dry-run")
    assert (dry.returncode, "3 to make, 1 to tag, 0 there already" in dry.stdout) == (0, True), dry.stdout
    assert flags("sync", "--dry-run").stdout == dry.stdout
    done = flags("sync")
    assert (done.returncode, "3 made, 1 tagged, 0 there already" in done.stdout) == (0, True), done.stdout + done.stderr
    there = {feature["name"]: feature for feature in api("GET", "/admin/projects/default/features")["features"]}
    assert [there[name]["type"] for name in ("sync-a", "sync-a.shadow", "sync-b.shadow")] == ["release", "operational", "operational"]
    assert "sync-a (/sync-a/*)" in there["sync-a"]["description"]
    assert not any(place["enabled"] for place in there["sync-a"]["environments"])
    for name in ("sync-a", "sync-a.shadow", "sync-b", "sync-b.shadow"):
        assert {"type": "simple", "value": "banyan"} in there[name]["tags"]
    assert (there["sync-b"]["type"], there["sync-b"]["description"]) == ("experiment", "somebody's own")
    assert [place["enabled"] for place in there["sync-b"]["environments"] if place["name"] == "development"] == [True]
    assert [strategy["id"] for strategy in api.strategies("sync-b")] == [identity]
    before = api.events()
    again = flags("sync", "--json")
    assert {flag["outcome"] for flag in json.loads(again.stdout)["flags"] if flag["name"].startswith("sync-")} == {"kept"}
    assert (again.returncode, "Nothing to do" in flags("sync").stdout, api.events()) == (0, True, before)

    fewer = banyan(tmp_path, unleash, "sync-a")
    assert re.search(r"(?m)^sync-b +no route reads it any more", fewer("sync").stdout)
    assert "sync-b" in {feature["name"] for feature in api("GET", "/admin/projects/default/features")["features"]}


def test_names_that_cannot_be_had_are_said_and_the_others_made(unleash: RunningUnleash, api: Api, tmp_path: Path) -> None:
    api.make("sync-old")
    api.archive("sync-old")
    flags = banyan(tmp_path, unleash, "sync-old", "sync-new")
    for arguments in (["sync", "--dry-run"], ["sync"], ["sync"]):
        done = flags(*arguments)
        assert done.returncode == 1
        assert re.search(r"(?m)^sync-old +cannot be made: .*archived flag 'sync-old'.*Revive", done.stdout), done.stdout
    assert "sync-new" in {feature["name"] for feature in api("GET", "/admin/projects/default/features")["features"]}
    refused = flags("on", "sync-old")
    assert (refused.returncode, "Revive" in refused.stderr) == (2, True)
    done = flags("off", "sync-old")
    assert (done.returncode, done.stdout, done.stderr) == (0, "sync-old  off  (archived in Unleash)\n", "")


def test_a_share_leaves_constraints_segments_variants_and_titles(api: Api, admin: UnleashAdmin) -> None:
    segment = api(
        "POST", "/admin/segments", {"name": "Seoul", "constraints": [{"contextName": "city", "operator": "IN", "values": ["Seoul"]}]}
    )
    constraint = {"contextName": "appName", "operator": "IN", "values": ["shop"], "inverted": False, "caseInsensitive": False}
    variant = {"name": "blue", "weight": 1000, "weightType": "variable", "stickiness": "userId"}
    api.make("rich")
    api.strategy("rich", title="the pilot", constraints=[constraint], segments=[segment["id"]], variants=[variant])
    (before,) = api.strategies("rich")
    assert admin.set("rich", True, 30) == FlagState("rich", True, None, stickiness="userId", conditional=30)
    (after,) = api.strategies("rich")
    assert after == {**before, "parameters": {**before["parameters"], "rollout": "30"}}
    assert after["variants"] == [variant]
    assert after["segments"] == [segment["id"]]
    admin.set("rich", True, 30, stickiness="sessionId")
    assert api.strategies("rich")[0]["parameters"] == {"rollout": "30", "stickiness": "sessionId", "groupId": "cohort"}


def test_whoever_asks_for_a_share_never_gets_everybody(api: Api, admin: UnleashAdmin) -> None:
    """Unleash turns a flag on for everybody whose strategies are all disabled, by a strategy that it adds itself."""
    api.make("asleep")
    api.strategy("asleep", disabled=True)
    with pytest.raises(AdminError, match="every strategy of flag 'asleep' is disabled"):
        admin.set("asleep", True)
    assert [state.enabled for state in admin.list() if state.name == "asleep"] == [False]
    assert admin.set("asleep", True, 25) == FlagState("asleep", True, 25, stickiness="userId")
    (strategy,) = api.strategies("asleep")
    assert (strategy["disabled"], strategy["parameters"]["rollout"]) == (False, "25")

    api.make("half-asleep")
    sleeping = api.strategy("half-asleep", disabled=True, parameters={"rollout": "100", "stickiness": "default", "groupId": "x"})
    api.strategy("half-asleep")
    assert admin.set("half-asleep", True, 25) == FlagState("half-asleep", True, 25, stickiness="userId")
    assert {strategy["id"]: strategy["disabled"] for strategy in api.strategies("half-asleep")}[sleeping] is True

    api.make("default-only")
    api.strategy("default-only", name="default", parameters={}, title="kept")
    assert admin.set("default-only", True, 25).rollout == 25
    assert [(strategy["name"], strategy["title"]) for strategy in api.strategies("default-only")] == [("flexibleRollout", "kept")]


def test_the_list_costs_two_requests_and_leaves_no_event(unleash: RunningUnleash, api: Api, admin: UnleashAdmin, tmp_path: Path) -> None:
    flags = banyan(tmp_path, unleash, "listed")
    assert flags("sync").returncode == 0
    assert flags("set", "listed", "20%", "--stickiness", "userId").returncode == 0
    for number in range(100):
        api.make(f"crowd-{number}")
        api.strategy(f"crowd-{number}")
    api("POST", "/admin/projects/default/stale", {"features": ["crowd-7"], "stale": True})
    before = api.events()
    began = time.monotonic()
    states = {state.name: state for state in admin.list()}
    print(f"{len(states)} flags listed in {1000 * (time.monotonic() - began):.0f} ms")
    assert api.events() == before
    assert states["listed"] == FlagState("listed", True, 20, states["listed"].description, "release", "userId", False, ("simple:banyan",))
    assert [states["crowd-7"].stale, states["crowd-8"].stale, states["crowd-8"].rollout] == [True, False, 10]
    done = flags("list")
    assert done.returncode == 0
    rows = done.stdout.splitlines()
    assert re.fullmatch(r"listed +on   20 % by userId +release +listed: who answers /listed/\*", rows[4])
    assert re.fullmatch(r"listed.shadow +off +operational +listed: compare", rows[5])
    assert "marked as stale" in done.stdout


def test_a_flag_that_does_not_exist_is_made_off_and_a_token_without_rights_is_said(unleash: RunningUnleash, tmp_path: Path) -> None:
    flags = banyan(tmp_path, unleash, "first-off")
    done = flags("off", "first-off", "first-off.shadow")
    assert (done.returncode, done.stdout) == (0, "first-off         off\nfirst-off.shadow  off\n")
    weak = banyan(tmp_path, unleash, "first-off", admin_token=unleash.client_token)
    for arguments in (["list"], ["sync"], ["on", "first-off"], ["off", "first-off"], ["set", "first-off", "5%"]):
        done = weak(*arguments)
        assert (done.returncode, "403" in done.stderr, "flags.admin_token may not do that" in done.stderr) == (2, True, True), done.stderr
    assert "`banyan flags override first-off off --for 30m`" in weak("off", "first-off").stderr
    none = banyan(tmp_path, unleash, "first-off", admin_token="")
    assert "flags.admin_token: empty" in none("off", "first-off").stderr


def test_a_project_or_an_environment_that_is_not_there(unleash: RunningUnleash, tmp_path: Path) -> None:
    flags = banyan(tmp_path, unleash, "somewhere", project="nowhere")
    assert "has no project 'nowhere': set flags.project to one of default" in flags("list").stderr
    assert "has no project 'nowhere'" in flags("sync", "--dry-run").stderr
    assert "nowhere" in flags("on", "somewhere").stderr
    flags = banyan(tmp_path, unleash, "somewhere")
    assert flags("sync").returncode == 0
    flags = banyan(tmp_path, unleash, "somewhere", environment="moon")
    assert re.search(r"no environment 'moon': set flags.environment to one of .*development", flags("list").stderr)
    done = flags("off", "somewhere")
    assert (done.returncode, "flags.environment = 'moon'" in done.stderr) == (2, True), done.stderr
    with UnleashAdmin(unleash.api_url, unleash.admin_token, project="elsewhere") as admin, pytest.raises(AdminError, match="elsewhere"):
        admin.ensure_flag("somewhere")
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin, pytest.raises(AdminError, match=r"404.*never-was"):
        admin.off("never-was")


def test_change_requests_are_named() -> None:
    """Unleash Enterprise's answer, in its own words (permission-error.js): the open-source server has no change requests."""
    said = (
        "You don't have the required permissions to perform this operation. To perform this action, you need the "
        '"SKIP_CHANGE_REQUEST" permission.'
    )
    body = json.dumps({"name": "PermissionError", "message": said, "details": [{"message": said}]})
    with answering(403, body) as place, UnleashAdmin(f"{place.url}/api", "*:*.token", project="shop", environment="production") as admin:
        with pytest.raises(AdminError, match=r"change requests.*'shop'.*'production'"):
            admin.off("reviews")
        assert len(place.requests) == 1


def test_off_is_tried_again_where_that_can_help() -> None:
    off = json.dumps({"name": "development", "enabled": False, "strategies": []})
    with answering(503, "<html>", until=2, then=(200, off)) as place, UnleashAdmin(f"{place.url}/api", "*:*.token") as admin:
        assert admin.off("reviews") == FlagState("reviews", False, 100)
        assert [request.partition(" ")[0] for request in place.requests] == ["POST", "POST", "POST", "GET"]
    with answering(500, "{}") as place, UnleashAdmin(f"{place.url}/api", "*:*.token") as admin:
        with pytest.raises(AdminError, match="500"):
            admin.off("reviews")
        assert len(place.requests) == 3
    with answering(200, "", after=30) as place, UnleashAdmin(f"{place.url}/api", "*:*.token", timeout=0.3) as admin:
        began = time.monotonic()
        with pytest.raises(AdminError, match="can't be reached: timed out"):
            admin.off("reviews")
        assert len(place.requests) == 3
        assert time.monotonic() - began < 15


def test_off_of_one_that_hangs_is_tried_as_often_as_the_page_says() -> None:
    with answering(200, "", after=60) as place, UnleashAdmin(f"{place.url}/api", "*:*.token") as admin:
        began = time.monotonic()
        with pytest.raises(AdminError, match="can't be reached: timed out"):
            admin.off("reviews")
        assert len(place.requests) == 2
        assert 10 < time.monotonic() - began < 14


def test_an_archived_flag_is_not_tried_again() -> None:
    with answering(400, json.dumps({"message": "Cannot perform this operation on archived features"})) as place:
        with UnleashAdmin(f"{place.url}/api", "*:*.token") as admin, pytest.raises(ArchivedError):
            admin.off("reviews")
        assert len(place.requests) == 1
