"""Whose requests are counted together, and that workers count in one memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import limiting
from gateway.config import ConfigError, parse
from gateway.identity.caller import ANONYMOUS, Caller
from gateway.limiting import MEMORY, RouteLimit, limits_of, network

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""
ALICE, BOB = Caller("alice"), Caller("bob")


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counted before, by any other test of this process."""
    fresh = limiting.Memory()
    monkeypatch.setattr(MEMORY, "secret", fresh.secret)
    monkeypatch.setattr(MEMORY, "places", fresh.places)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("unix", "unix"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_client_is_his_network(address: str, counted: str) -> None:
    assert network(address) == counted


def test_clients_users_and_routes_are_counted_each_for_itself() -> None:
    clients, users, route = RouteLimit("a", "client", 0.001, 1), RouteLimit("a", "user", 0.001, 1), RouteLimit("a", "route", 0.001, 1)
    assert [clients.wait(address, None) > 0 for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [False, False, True]
    assert [users.wait("192.0.2.1", who) > 0 for who in (ALICE, BOB, ALICE, ANONYMOUS, ANONYMOUS)] == [False, False, True, False, True]
    assert users.wait("192.0.2.2", ALICE) > 0, "the same user from elsewhere"
    assert users.wait("192.0.2.2", ANONYMOUS) == 0
    assert [route.wait(address, None) > 0 for address in ("192.0.2.1", "192.0.2.2")] == [False, True]
    assert RouteLimit("b", "client", 0.001, 1).wait("192.0.2.1", None) == 0, "another route"


def test_a_user_is_no_address() -> None:
    users = RouteLimit("a", "user", 0.001, 1)
    assert users.wait("192.0.2.9", Caller("192.0.2.1")) == 0
    assert users.wait("192.0.2.1", ANONYMOUS) == 0


def test_retry_after_is_whole_seconds_that_suffice() -> None:
    limit = RouteLimit("a", "client", 0.4, 1)
    assert limit.wait("192.0.2.1", None) == 0
    assert limit.wait("192.0.2.1", None) == 3


def test_two_processes_count_in_one_memory() -> None:
    descriptor = limiting.make()
    try:
        asked = (
            "import sys; from gateway.limiting import MEMORY, RouteLimit\n"
            "MEMORY.share(int(sys.argv[1])); limit = RouteLimit('a', 'client', 0.001, 5)\n"
            "print([limit.wait('192.0.2.1', None) == 0 for _ in range(3)])"
        )
        command = [sys.executable, "-c", asked, str(descriptor)]
        said = [subprocess.run(command, pass_fds=[descriptor], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    finally:
        os.close(descriptor)
    assert said == ["[True, True, True]\n", "[True, True, False]\n"]


def test_the_configuration_says_which_routes_have_one() -> None:
    config = parse(Path("banyan.toml"), TOML + "rate_limit = { rate = 2.5 }\n")
    route = config.routes[0].rate_limit
    assert route is not None
    assert (route.per, route.rate, route.most_at_once) == ("client", 2.5, 3)
    assert list(limits_of(config)) == ["reviews"]
    assert not limits_of(parse(Path("banyan.toml"), TOML))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('rate_limit = { per = "user", rate = 5 }', "nobody is asked who calls"),
        ("rate_limit = { rate = 0 }", "rate_limit.rate"),
        ("rate_limit = { rate = 5, burst = 0 }", "rate_limit.burst"),
        ("rate_limit = { burst = 5 }", "rate = 50, requests a second"),
        ('rate_limit = { per = "session", rate = 5 }', "rate_limit.per"),
        ("rate_limit = 5", "rate_limit"),
    ],
)
def test_what_cannot_be_is_said(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(Path("banyan.toml"), TOML + line + "\n")
    assert said in str(error.value)
