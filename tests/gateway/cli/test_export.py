"""`banyan export`, as a shell meets it: what is on which output, its exit status, and where the flags come from."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from gateway.export.losses import GIVEN_UP
from tests.gateway.cli.test_comparison import banyan
from tests.support.fake_unleash import TOKEN, FakeUnleash

ROOT = Path(__file__).resolve().parents[3]
TOML = """
[gateway]
listen = ["unix:/run/banyan.sock", "127.0.0.1:8080"]
[upstreams]
legacy = "http://legacy.shop:8001"
reviews = "http://reviews.shop:8101"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[[routes]]
name = "items"
match = "/api/v1/items/*"
candidate = "reviews"
"""
ON = {"version": 1, "features": [{"name": "reviews", "enabled": True, "strategies": []}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(TOML)
    (tmp_path / "flags.json").write_text(json.dumps(ON))
    return tmp_path


def test_what_is_handed_over_is_on_one_output_and_why_the_rest_is_not_on_the_other(folder: Path) -> None:
    done = banyan(folder, "export", "envoy", "--give-up", "fallback")
    assert done.returncode == 1  # items stay
    assert done.stdout.startswith("# Made by `banyan export` from banyan.toml and the flags of ")
    assert "# Routes: reviews.\nstatic_resources:\n" in done.stdout
    assert "reviews: handed over. reviews answers 100 %" in done.stderr
    assert "  given up, fallback: where the candidate fails legacy answers" in done.stderr
    assert re.search(
        r"(?m)^items: NOT handed over\n  flag-off: the flag items is off, and nothing is compared: legacy answers\. Lost: ", done.stderr
    )
    assert "note: flags are not asked any more" in done.stderr
    alone = banyan(folder, "export", "envoy", "--give-up", "fallback", "--route", "reviews")
    assert alone.returncode == 0
    assert "items" not in alone.stderr


def test_nothing_is_printed_where_nothing_is_handed_over(folder: Path) -> None:
    done = banyan(folder, "export", "envoy", "--route", "reviews")
    assert (done.returncode, done.stdout) == (1, "")
    assert "(--give-up fallback, if you can do without)" in done.stderr


def test_for_machines(folder: Path) -> None:
    done = banyan(folder, "export", "envoy", "--json", "--give-up", "fallback")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert (told["mesh"], told["flags"]["source"]) == ("envoy", "file")
    (handed,) = told["handed"]
    assert (handed["route"], handed["shares"]) == ("reviews", [{"upstream": "reviews", "weight": 100, "mirror": None}])
    assert [each["code"] for each in handed["given_up"]] == ["fallback"]
    (refused,) = told["refused"]
    assert (refused["route"], [(each["code"], each["optional"]) for each in refused["reasons"]]) == ("items", [("flag-off", False)])
    (document,) = told["documents"]
    clusters = {each["name"]: each["load_assignment"]["endpoints"] for each in document["static_resources"]["clusters"]}
    gateway = clusters["banyan:gateway"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert gateway == {"address": "127.0.0.1", "port_value": 8080}


def test_istio_has_one_document_for_each(folder: Path) -> None:
    arguments = ["--give-up", "fallback", "--give-up", "untidy-paths", "--gateway", "banyan.shop:8080", "--route", "reviews"]
    done = banyan(folder, "export", "istio", *arguments, "--host", "shop.example.com", "--namespace", "shop")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n---\n") == 2
    assert "kind: VirtualService" in done.stdout
    assert "kind: DestinationRule" in done.stdout


def test_without_a_gateway_every_route_has_to_be_handed_over(folder: Path) -> None:
    every = ["--rest", "legacy", "--give-up", "fallback", "--give-up", "encoded-paths"]
    done = banyan(folder, "export", "envoy", *every)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is exported: with --rest legacy there is no gateway any more" in done.stderr
    (folder / "banyan.toml").write_text(TOML[: TOML.index('[[routes]]\nname = "items"')])
    done = banyan(folder, "export", "envoy", *every)
    assert done.returncode == 0, done.stderr
    assert "banyan:gateway" not in done.stdout


@pytest.mark.parametrize(
    ("mesh", "arguments", "said"),
    [
        ("envoy", ["--route", "nobody"], "there is no route 'nobody'"),
        ("envoy", ["--give-up", "stamp"], "--give-up: 'stamp' is none of fallback"),
        ("envoy", ["--rest", "nobody"], "--rest is gateway or legacy"),
        ("envoy", ["--rest", "legacy", "--route", "reviews"], "leave out --route"),
        ("envoy", ["--rest", "legacy", "--gateway", "a:1"], "--gateway means nothing"),
        ("envoy", ["--gateway", "nowhere"], '--gateway: write "host:port"'),
        ("envoy", ["--gateway", "a:0"], "--gateway: write HOST:PORT"),
        ("envoy", ["--listen", "unix:/x"], "--listen: write HOST:PORT"),
        ("envoy", ["--service", "nobody=a:1"], "--service: write UPSTREAM=HOST:PORT, with one of legacy, reviews"),
        ("istio", ["--host", "a"], "say where the gateway is found"),
        ("istio", ["--host", "a", "--gateway", "127.0.0.1:8080"], "say where the gateway is found"),
        ("istio", ["--gateway", "banyan.shop:80"], "sidecars take no host of *"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, mesh: str, arguments: list[str], said: str) -> None:
    done = banyan(folder, "export", mesh, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_gateway_that_speaks_tls_alone_is_to_be_named(folder: Path) -> None:
    (folder / "banyan.toml").write_text(TOML.replace('"unix:/run/banyan.sock", "127.0.0.1:8080"', '"0.0.0.0:8080"'))
    done = banyan(folder, "export", "envoy")
    assert done.returncode == 2
    assert "say where the gateway is found" in done.stderr


def test_an_override_that_is_written_down_is_not_settled(folder: Path) -> None:
    (folder / "var").mkdir()
    now = time.time()
    override = {"enabled": True, "since": now, "until": now + 600, "by": "ana", "why": "a test"}
    (folder / "var" / "flag-overrides.json").write_text(json.dumps({"reviews": override}))
    done = banyan(folder, "export", "envoy", "--route", "reviews", "--give-up", "fallback", "--json")
    assert [each["code"] for each in json.loads(done.stdout)["refused"][0]["reasons"]] == ["flag-override"]


def test_of_unleash_the_flags_as_they_are_there_else_the_backup_else_none(folder: Path) -> None:
    unleash = FakeUnleash()
    try:
        unleash.features = json.dumps(ON).encode()
        flags = f'[flags]\nsource = "unleash"\nurl = "{unleash.url}"\ntoken = "{TOKEN}"\n'
        (folder / "banyan.toml").write_text(flags + TOML)
        arguments = ["export", "envoy", "--json", "--give-up", "fallback", "--route", "reviews"]
        done = banyan(folder, *arguments)
        assert (done.returncode, json.loads(done.stdout)["flags"]["source"]) == (0, "unleash")
        unleash.mode = "502"
        done = banyan(folder, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "nobody knows what is settled" in done.stderr
        assert TOKEN not in done.stderr
        (folder / "var").mkdir()
        backup = folder / "var" / "flags-backup.json"
        backup.write_text(json.dumps(ON))
        backup.chmod(0o600)
        done = banyan(folder, *arguments)
        assert (done.returncode, json.loads(done.stdout)["flags"]["source"]) == (0, "backup")
    finally:
        unleash.stop()


def test_the_guide_names_every_reason() -> None:
    rows = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs" / "guide" / "handing-over.md").read_text()))
    named = set(GIVEN_UP)
    for path in (ROOT / "gateway" / "export").glob("*.py"):
        named |= set(re.findall(r'Loss\(\s*"([a-z-]+)"', path.read_text()))
    kinds = re.search(r"kind: Literal\[(.*)\]", (ROOT / "flags" / "settled.py").read_text())
    assert kinds is not None
    named |= {f"flag-{kind}" for kind in re.findall(r'"(\w+)"', kinds[1])}
    assert len(named) > 25
    assert not named - rows
