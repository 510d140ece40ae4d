"""What is needed of banyan.toml at night is had from one that is wrong, and guessed from none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.flags.steering import ADMIN, admin_address, steering
from gateway.cli.shared import RefusalError

TOML = """
[gateway]
admin = "127.0.0.1:${TEST_ADMIN_PORT}"
[flags]
source = "unleash"
url = "http://127.0.0.1:9/api"
token = "${TEST_CLIENT_TOKEN}"
admin_token = "${TEST_ADMIN_TOKEN}"
project = "shop"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
flag = "stars"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (("TEST_ADMIN_PORT", "19"), ("TEST_CLIENT_TOKEN", "default:development.x"), ("TEST_ADMIN_TOKEN", "*:*.y")):
        monkeypatch.setenv(name, value)
    path = tmp_path / "banyan.toml"
    path.write_text(TOML)
    return path


def test_a_secret_that_the_shell_lacks_and_a_wrong_route(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = steering(config)
    assert (whole.flags, whole.project, whole.admin, whole.wrong) == (["stars", "stars.shadow"], "shop", "127.0.0.1:19", "")
    assert "*:*.y" not in repr(whole)
    monkeypatch.delenv("TEST_CLIENT_TOKEN")
    config.write_text(TOML + 'rewrite = "no path"\n')
    with pytest.raises(RefusalError, match="TEST_CLIENT_TOKEN"):
        steering(config)
    found = steering(config, whatever=True)
    assert "TEST_CLIENT_TOKEN" in found.wrong
    for name in ("source", "url", "admin_token", "project", "environment", "admin", "file", "path", "flags"):
        assert getattr(found, name) == getattr(whole, name)


def test_a_split_route_reads_one_flag_whatever_else_is_wrong(config: Path) -> None:
    config.write_text(TOML.replace('candidate = "new"', "split = { new = 1 }"))
    whole = steering(config)
    assert [(read.flag, read.role, read.split) for read in whole.reads] == [("stars.split", "split", {"new": 1})]
    config.write_text(TOML.replace('candidate = "new"', "split = { nwe = 1 }"))
    found = steering(config, whatever=True)
    assert ("nwe" in found.wrong, found.flags) == (True, whole.flags)


def test_without_what_it_needs_nothing_is_guessed(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_ADMIN_TOKEN")
    with pytest.raises(RefusalError, match="TEST_ADMIN_TOKEN"):
        steering(config, whatever=True)
    assert admin_address(config) == "127.0.0.1:19"
    monkeypatch.delenv("TEST_ADMIN_PORT")
    assert admin_address(config) == ADMIN


@pytest.mark.parametrize(
    "text", ["routes = 1\n[flags]\nsource = 1", 'flags = "x"\nroutes = [1]', "[gateway]\nadmin = 5\n[[routes]]\nname = 7"]
)
def test_odd_shapes_are_refused_as_ever(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(RefusalError):
        steering(config)
    try:
        found = steering(config, whatever=True)
    except RefusalError:
        pass
    else:
        assert found.flags == []
    assert admin_address(config) == ADMIN


def test_no_toml_and_no_file_say_that_a_gateway_can_be_named(config: Path) -> None:
    config.write_text("[flags")
    with pytest.raises(RefusalError, match="--admin HOST:PORT"):
        admin_address(config)
    config.unlink()
    with pytest.raises(RefusalError, match="--admin HOST:PORT"):
        admin_address(config)


@pytest.mark.parametrize("url", ["http://u:hidden@127.0.0.1:9/api", "http://127.0.0.1:9/api?token=hidden", "http://[::1", "nonsense"])
def test_an_address_that_cannot_be_one_is_not_taken_and_not_repeated(config: Path, url: str) -> None:
    config.write_text(TOML.replace("http://127.0.0.1:9/api", url) + "nonsense = 1\n")
    with pytest.raises(RefusalError) as caught:
        steering(config, whatever=True)
    assert "hidden" not in str(caught.value)
    assert admin_address(config) == "127.0.0.1:19"
