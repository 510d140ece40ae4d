"""upstreams.*.concurrency in banyan.toml: what can be written, each worker's share, and which engine carries it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, parse
from gateway.mitm.unfit import unfit

FILE = """
[upstreams.legacy]
url = "http://127.0.0.1:8001"
concurrency = {{ {} }}
"""


def config(concurrency: str) -> Config:
    return parse(Path("banyan.toml"), FILE.format(concurrency))


def test_nobody_counts_where_nothing_is_written() -> None:
    assert parse(Path("banyan.toml"), '[upstreams]\nlegacy = "http://127.0.0.1:8001"\n').upstreams["legacy"].concurrency is None


def test_defaults() -> None:
    found = config("").upstreams["legacy"].concurrency
    assert found is not None
    assert (found.limit, found.min, found.max, found.queue, found.queue_timeout) == ("adaptive", 4, 256, 64, 0.5)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "limit = 0",
            'upstreams.legacy.concurrency.limit: write limit = "adaptive", or a whole number of requests from 1 to 100000, not 0',
        ),
        ("limit = true", 'upstreams.legacy.concurrency.limit: write limit = "adaptive", or a whole number'),
        ('limit = "automatic"', 'upstreams.legacy.concurrency.limit: write limit = "adaptive", or a whole number'),
        (
            "limit = 8, max = 16",
            'upstreams.legacy.concurrency: min and max are the bounds of limit = "adaptive"; with a number remove them',
        ),
        ("min = 20, max = 10", "upstreams.legacy.concurrency: min = 20 is more than max = 10"),
        ("queue = -1", "upstreams.legacy.concurrency.queue: expected 0 or more"),
        ("queue_timeout = 5", "upstreams.legacy.concurrency.queue_timeout: write a duration with its unit"),
        ("size = 5", "upstreams.legacy.concurrency.size: unknown key"),
    ],
)
def test_mistakes(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(written)
    (problem,) = error.value.problems
    assert problem.startswith(said)


@pytest.mark.parametrize(("number", "workers", "share"), [(8, 1, 8), (8, 4, 2), (10, 4, 2), (2, 4, 1), (0, 4, 0)])
def test_shares(number: int, workers: int, share: int) -> None:
    found = config("limit = 8").upstreams["legacy"].concurrency
    assert found is not None
    assert found.share(number, workers) == share


def test_a_priority_that_is_none() -> None:
    route = '[[routes]]\nname = "a"\nmatch = "/a"\ncandidate = "legacy2"\npriority = "urgent"\n'
    text = '[upstreams]\nlegacy = "http://127.0.0.1:1"\nlegacy2 = "http://127.0.0.1:2"\n' + route
    with pytest.raises(ConfigError) as error:
        parse(Path("banyan.toml"), text)
    assert "routes[0].priority (route 'a'): expected 'critical', 'normal' or 'sheddable'" in str(error.value)


def test_the_mitmproxy_engine_refuses_it_by_name() -> None:
    assert list(unfit(config("limit = 8"))) == [
        "upstreams.legacy.concurrency: the mitmproxy engine does not count; run the edge engine, or remove it"
    ]
