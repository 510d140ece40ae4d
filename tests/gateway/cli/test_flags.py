"""`banyan flags` on a file: a slip of the hand is not taken for a flip."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from demo.processes import python
from flags.admin import FlagState
from gateway.cli.flags.shown import in_words
from tests.support.serving import DRIPPING, answering, unending

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    return tmp_path


def flags(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "flags", *arguments, "--config", str(folder / "banyan.toml"))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def states(folder: Path) -> dict[str, bool]:
    return {feature["name"]: feature["enabled"] for feature in json.loads((folder / "flags.json").read_text())["features"]}


def test_what_a_route_reads_is_switched(folder: Path) -> None:
    for arguments in (["on", "reviews.shadow"], ["set", "reviews", "25%"], ["off", "reviews"]):
        done = flags(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert states(folder) == {"reviews.shadow": True, "reviews": False}


@pytest.mark.parametrize("arguments", [["on", "revews"], ["off", "revews"], ["set", "revews", "5%"]])
def test_what_no_route_reads_is_refused_with_what_was_meant(folder: Path, arguments: list[str]) -> None:
    done = flags(folder, *arguments)
    assert done.returncode == 2
    assert done.stderr == (
        f"banyan: {folder}/banyan.toml: no route reads a flag 'revews'. Did you mean 'reviews'? "
        "Routes read 'reviews', 'reviews.shadow'. Nothing was changed; --force makes it all the same\n"
    )
    assert not (folder / "flags.json").exists()
    assert flags(folder, *arguments, "--force").returncode == 0
    assert "revews" in states(folder)


def test_what_is_like_nothing_is_refused_with_what_there_is(folder: Path) -> None:
    assert flags(folder, "off", "zzz").stderr == (
        f"banyan: {folder}/banyan.toml: no route reads a flag 'zzz'. "
        "Routes read 'reviews', 'reviews.shadow'. Nothing was changed; --force makes it all the same\n"
    )


def test_what_no_route_reads_and_is_there_is_switched_with_a_note(folder: Path) -> None:
    (folder / "flags.json").write_text('{"version": 1, "features": [{"name": "revews", "enabled": true, "strategies": []}]}')
    done = flags(folder, "off", "revews", "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["enabled"]) == (0, False)
    assert done.stderr == (
        f"note: {folder}/banyan.toml: no route reads a flag 'revews'. Did you mean 'reviews'? Routes read 'reviews', 'reviews.shadow'\n"
    )
    assert states(folder) == {"revews": False}


def test_several_are_switched_whatever_becomes_of_one(folder: Path) -> None:
    done = flags(folder, "on", "reviews", "revews", "reviews.shadow", "--json")
    assert done.returncode == 2
    assert [state["name"] for state in json.loads(done.stdout)] == ["reviews", "reviews.shadow"]
    assert "no route reads a flag 'revews'" in done.stderr
    assert states(folder) == {"reviews": True, "reviews.shadow": True}


def test_off_needs_nothing_of_the_file_but_where_the_flags_are(folder: Path) -> None:
    assert flags(folder, "on", "reviews").returncode == 0
    (folder / "banyan.toml").write_text(CONFIG + 'rewrite = "no path"\n[identity.stamp]\nkey = "${NOT_IN_THIS_SHELL}"\n')
    assert flags(folder, "on", "reviews.shadow").returncode == 2
    done = flags(folder, "off", "reviews")
    assert (done.returncode, done.stdout) == (0, "reviews  off\n")
    assert done.stderr.startswith(f"note: {folder}/banyan.toml: ")
    assert done.stderr.endswith("Only what this needs was read\n")
    assert states(folder) == {"reviews": False}
    assert "no route reads a flag 'revews'" in flags(folder, "off", "revews").stderr


def test_off_of_a_file_that_is_no_toml_says_so(folder: Path) -> None:
    (folder / "banyan.toml").write_text("[flags")
    done = flags(folder, "off", "reviews")
    assert (done.returncode, "is not TOML" in done.stderr) == (2, True)


def test_a_share_is_sticky_by_what_was_said(folder: Path) -> None:
    done = flags(folder, "set", "reviews", "25%", "--stickiness", "sessionId")
    assert (done.returncode, done.stdout, done.stderr) == (0, "reviews  on   25 % by sessionId\n", "")
    assert flags(folder, "set", "reviews", "30%").stdout == "reviews  on   30 % by sessionId\n"
    done = flags(folder, "set", "reviews", "30%", "--stickiness", "userid")
    assert (done.returncode, "Did you mean 'userId'?" in done.stderr) == (2, True)
    assert flags(folder, "list").stdout.count("30 % by sessionId") == 1
    done = flags(folder, "set", "reviews", "30%", "--stickiness", "tenant")
    assert (done.returncode, "read as a property of the request" in done.stderr) == (0, True)


@pytest.mark.parametrize("share", ["", "%", "101%", "2.5%", "٣%", "half"])
def test_no_share(folder: Path, share: str) -> None:
    done = flags(folder, "set", "reviews", share)
    assert (done.returncode, "whole percentage" in done.stderr) == (2, True), done.stderr
    assert not (folder / "flags.json").exists()


def test_sync_makes_what_is_missing_and_then_nothing(folder: Path) -> None:
    dry = flags(folder, "sync", "--dry-run")
    assert (dry.returncode, "2 to make, 0 there already" in dry.stdout) == (0, True), dry.stdout
    assert not (folder / "flags.json").exists()
    assert flags(folder, "set", "reviews", "10%").returncode == 0
    done = flags(folder, "sync")
    assert (done.returncode, "1 made, 1 there already" in done.stdout) == (0, True), done.stdout
    document = json.loads((folder / "flags.json").read_text())
    (first, second) = document["features"]
    assert (first["enabled"], first["strategies"][0]["parameters"]["rollout"], "description" in first) == (True, "10", False)
    assert (second["name"], second["enabled"], second["type"]) == ("reviews.shadow", False, "operational")
    assert "reviews (/reviews/*)" in second["description"]
    before = (folder / "flags.json").stat()
    again = flags(folder, "sync", "--json")
    assert (again.returncode, [flag["outcome"] for flag in json.loads(again.stdout)["flags"]]) == (0, ["kept", "kept"])
    assert "Nothing to do" in flags(folder, "sync").stdout
    after = (folder / "flags.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_sync_names_what_no_route_reads_any_more(folder: Path) -> None:
    assert flags(folder, "sync").returncode == 0
    assert flags(folder, "on", "by-hand", "--force").returncode == 0
    (folder / "banyan.toml").write_text(CONFIG.replace('name = "reviews"', 'name = "ratings"'))
    done = json.loads(flags(folder, "sync", "--json").stdout)["flags"]
    assert {flag["name"]: flag["outcome"] for flag in done} == {
        "ratings": "made",
        "ratings.shadow": "made",
        "reviews": "unread",
        "reviews.shadow": "unread",
    }
    assert set(states(folder)) == {"ratings", "ratings.shadow", "reviews", "reviews.shadow", "by-hand"}
    listed = flags(folder, "list").stdout
    assert (listed.count("no route any more"), listed.count("no route\n")) == (2, 1)


def test_the_list_without_a_gateway(folder: Path) -> None:
    (folder / "banyan.toml").write_text(f'[gateway]\nadmin = "127.0.0.1:{closed()}"\n{CONFIG}')
    constraint = {"contextName": "country", "operator": "NUM_GT", "value": "many"}
    strategy = {"name": "flexibleRollout", "parameters": {"rollout": "20"}, "constraints": [constraint]}
    feature = {"name": "reviews", "enabled": True, "stale": True, "strategies": [strategy]}
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": [feature]}))
    done = flags(folder, "list")
    assert done.returncode == 0
    head, gateway, _, titles, *rows = done.stdout.splitlines()
    assert head == f"flags    {folder}/flags.json"
    assert re.fullmatch(r"gateway  no gateway answers at 127\.0\.0\.1:\d+ \(Connection refused\)", gateway)
    assert titles.split() == ["FLAG", "STATE", "TYPE", "READ", "BY"]
    text = "\n".join(rows)
    assert re.search(r"(?m)^reviews +on   20 % of those whom its constraints let in +release +reviews: who answers /reviews/\*$", text)
    assert re.search(r"(?m)^reviews.shadow +does not exist: off +reviews: compare$", text)
    assert "marked as stale" in text
    assert text.count("problem: ") == 2
    machine = json.loads(flags(folder, "list", "--json").stdout)
    assert (machine["gateway"]["answers"], [flag["exists"] for flag in machine["flags"]]) == (False, [True, False])
    assert len(machine["flags"][0]["problems"]) == 1


def test_a_name_written_by_hand_does_nothing_to_a_terminal(folder: Path) -> None:
    feature = {"name": "a\x1b[2Jb", "enabled": True, "strategies": []}
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": [feature]}))
    listed = flags(folder, "list")
    assert (listed.returncode, "a�[2Jb" in listed.stdout, "\x1b" in listed.stdout) == (0, True, False)


def test_a_port_that_the_gateway_chose_has_to_be_named(folder: Path) -> None:
    (folder / "banyan.toml").write_text(f'[gateway]\nadmin = "127.0.0.1:0"\n{CONFIG}')
    assert flags(folder, "sync").returncode == 0
    assert "name it with --admin" in flags(folder, "list").stdout


@pytest.mark.parametrize("verb", ["list", "on", "off", "set", "override", "sync", ""])
def test_help_has_an_example(verb: str) -> None:
    command = python("-m", "gateway.cli", "flags", *verb.split(), "--help")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert f"banyan flags {verb}".strip() in done.stdout


def closed() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


@pytest.mark.parametrize("url", ["http://u:hidden@127.0.0.1:9/api", "http://[::1"])
def test_off_takes_no_address_that_the_gateway_would_not(folder: Path, url: str) -> None:
    unleash = f'[flags]\nsource = "unleash"\nurl = "{url}"\ntoken = "default:development.x"\nadmin_token = "*:*.secret"\n'
    (folder / "banyan.toml").write_text(unleash + CONFIG)
    done = flags(folder, "off", "reviews")
    assert (done.returncode, done.stdout) == (2, "")
    assert "flags.url" in done.stderr
    assert not [word for word in ("hidden", "secret", "Traceback") if word in done.stderr]


@pytest.mark.parametrize("share", ["25.5%", "101%", "", "\N{ARABIC-INDIC DIGIT TWO}%", "9" * 5000])
def test_what_is_no_share_is_refused(folder: Path, share: str) -> None:
    done = flags(folder, "set", "reviews", share)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a share: write a whole percentage from 0% to 100%" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "flags.json").exists()


@pytest.mark.parametrize(
    ("rollout", "stickiness", "words"),
    [
        (100, "default", "on   100 %"),
        (100, "random", "on   100 %"),
        (100, "userId", "on   100 % by userId"),  # visitors without an account are outside
        (99, "random", "on   99 % by random"),
        (0, "userId", "on   0 %"),
    ],
)
def test_whom_a_share_is_of(rollout: int, stickiness: str, words: str) -> None:
    assert in_words(FlagState("reviews", True, rollout, stickiness=stickiness)) == words


def test_a_share_among_some_is_said(folder: Path) -> None:
    constraint = {"contextName": "country", "operator": "IN", "values": ["kr"]}
    strategy = {"name": "flexibleRollout", "parameters": {"rollout": "20"}, "constraints": [constraint]}
    feature = {"name": "reviews", "enabled": True, "strategies": [strategy]}
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": [feature]}))
    done = flags(folder, "set", "reviews", "50%")
    assert (done.returncode, done.stdout, done.stderr) == (0, "reviews  on   50 % of those whom its constraints let in\n", "")
    (machine,) = json.loads(flags(folder, "set", "reviews", "60%", "--json").stdout)
    assert (machine["rollout"], machine["conditional"]) == (None, 60)


@pytest.mark.parametrize("answer", ["[]", "7", "{}", '{"flags": 7}', '{"flags": {}, "source": "file", "workers": {"0": 1}}'])
def test_what_is_no_gateway_is_not_listed_as_one(folder: Path, answer: str) -> None:
    assert flags(folder, "sync").returncode == 0
    with answering(200, answer) as place:
        done = flags(folder, "list", "--admin", f"127.0.0.1:{place.port}")
        assert (done.returncode, done.stderr) == (0, "")
        assert "with something else than a gateway does" in done.stdout
        assert re.search(r"(?m)^reviews +off +release", done.stdout)
        taken = flags(folder, "override", "reviews", "off", "--for", "1m", "--admin", f"127.0.0.1:{place.port}")
    assert (taken.returncode, "NOT TAKEN" in taken.stderr) == (1, True)


def test_what_a_gateway_says_does_nothing_to_a_terminal(folder: Path) -> None:
    with answering(409, json.dumps({"title": "no\x1b[2J", "detail": "\x1b]0;mine\x07"})) as place:
        done = flags(folder, "override", "reviews", "off", "--for", "1m", "--admin", f"127.0.0.1:{place.port}")
    assert (done.returncode, "NOT TAKEN" in done.stderr, "\x1b" in done.stderr) == (1, True, False)
    answer = {"workers": {"0": True}, "enabled": False, "until": 2e9, "warning": "\x1b[2J"}
    with answering(200, json.dumps(answer)) as place:
        done = flags(folder, "override", "reviews", "off", "--for", "1m", "--admin", f"127.0.0.1:{place.port}")
    assert (done.returncode, "Mind: " in done.stdout, "\x1b" in done.stdout) == (0, True, False)


def test_an_unleash_that_drips_holds_up_no_command(folder: Path) -> None:
    with unending(*DRIPPING["body"], pause=0.2) as place:
        unleash = f'[flags]\nsource = "unleash"\nurl = "{place.url}/api"\ntoken = "default:development.x"\nadmin_token = "*:*.secret"\n'
        (folder / "banyan.toml").write_text(f'[gateway]\nadmin = "127.0.0.1:{closed()}"\n{unleash}{CONFIG}')
        began = time.monotonic()
        done = flags(folder, "list")
        took = time.monotonic() - began
        assert len(place.requests) == 1, "what gives nothing is not asked a second time"
    assert (done.returncode, "did not give a whole answer within 10 s" in done.stderr) == (2, True), done.stderr
    assert took < 25
