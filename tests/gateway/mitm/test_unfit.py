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


def test_calls_between_domains_are_not_looked_at() -> None:
    toml = TOML + '[identity]\nsource = "introspection"\nstamp = { key = "%s" }\n[domains]\norder = ["a"]\nenforce = "%s"\n'
    (problem,) = unfit(parse(Path("banyan.toml"), toml % ("0123456789abcdef" * 4, "report")))
    assert problem.startswith("domains.enforce: the mitmproxy engine looks at no calls")
    assert list(unfit(parse(Path("banyan.toml"), toml % ("0123456789abcdef" * 4, "off")))) == []


@pytest.mark.parametrize("line", ["", "breaker = false", "idempotent = true"])
def test_what_is_not_asked_for_is_not_missed(line: str) -> None:
    assert list(unfit(parse(Path("banyan.toml"), TOML + line))) == []
