"""[tracing] says what it cannot use, and repeats no secret."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, parse
from gateway.mitm.unfit import unfit

TOML = '[upstreams]\nlegacy = "http://127.0.0.1:1"\n[tracing]\n'
GOOD = 'endpoint = "http://127.0.0.1:4318/v1/traces"\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('endpoint = "127.0.0.1:4318"', "http://host:4318/v1/traces"),
        ('endpoint = "http://127.0.0.1:4318"', "write the whole address"),
        ('endpoint = "http://127.0.0.1:4318/"', "write the whole address"),
        ('endpoint = "http://me:hunter2@a/v1/traces"', "without a login"),
        ('endpoint = "https://a/v1/traces?key=hunter2"', "without a login or a query"),
        ('endpoint = "http://a:0/v1/traces"', "http://host:4318/v1/traces"),
        ('endpoint = "ftp://a/v1/traces"', "http://host:4318/v1/traces"),
        ("sample = 1.5", "tracing.sample: expected 1 or less"),
        ("sample = -0.1", "tracing.sample: expected 0"),
        ("queue = 0", "tracing.queue: expected 1"),
        ('timeout = "0s"', "in no time nothing can happen"),
        ('service = ""', "tracing.service"),
        ('headers = { "a b" = "hunter2" }', "no field that could be added"),
        ('headers = { Host = "hunter2" }', "no field that could be added"),
        ('headers = { token = "hunter2\\r\\nX: y" }', "cannot be sent in a field"),
        ('headers = { token = "" }', "is empty"),
        ("url = 1", "url"),
    ],
)
def test_what_cannot_be_used(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(Path("banyan.toml"), TOML + line)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_nothing_is_traced_by_default() -> None:
    config = parse(Path("banyan.toml"), TOML)
    assert config.tracing.endpoint == ""
    assert parse(Path("banyan.toml"), TOML + GOOD).tracing.sample == 0.01


def test_headers_are_not_shown() -> None:
    config = parse(Path("banyan.toml"), TOML + GOOD + 'headers = { token = "hunter2" }')
    assert config.tracing.headers["token"].get_secret_value() == "hunter2"
    assert "hunter2" not in repr(config)


def test_the_mitmproxy_engine_refuses_and_who_inspects_does_without() -> None:
    config = parse(Path("banyan.toml"), TOML + GOOD)
    (problem,) = unfit(config)
    assert problem.startswith("tracing.endpoint: the mitmproxy engine records no spans")
    assert list(unfit(config, alone=True)) == []
