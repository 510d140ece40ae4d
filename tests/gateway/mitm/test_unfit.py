"""What the mitmproxy engine cannot carry out is refused by its name."""

from pathlib import Path

import pytest

from gateway.config import parse
from gateway.mitm.unfit import unfit

TOML = '[upstreams.legacy]\nurl = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('health = { path = "/up" }', "upstreams.legacy.health: the mitmproxy engine does not ask for it"),
        ("breaker = { minimum = 5 }", "upstreams.legacy.breaker: the mitmproxy engine has none"),
    ],
)
def test_what_is_asked_for_and_not_there(line: str, says: str) -> None:
    (problem,) = unfit(parse(Path("banyan.toml"), TOML + line))
    assert problem.startswith(says)


@pytest.mark.parametrize("line", ["", "breaker = false", "idempotent = true"])
def test_what_is_not_asked_for_is_not_missed(line: str) -> None:
    assert list(unfit(parse(Path("banyan.toml"), TOML + line))) == []
