"""A reload leaves nothing behind: neither pools nor timeouts of a configuration by which no request goes any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flags.decisions import Decisions
from gateway import build
from gateway.access import AccessLog
from gateway.config import Config, parse
from gateway.net.deadlines import TICK
from gateway.net.edge import Edge
from gateway.tls import TlsError
from tests.support.certificates import Authority

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{port}"
new = "http://127.0.0.1:2"
[identity]
source = "introspection"
cache = "{cache}s"
[shadow]
timeout = "{timeout}s"
redact = ["{redact}"]
"""


def config(port: int = 1, cache: int = 10, timeout: int = 5, redact: str = "cookie") -> Config:
    return parse(Path("banyan.toml"), TOML.format(port=port, cache=cache, timeout=timeout, redact=redact))


def reconfigure(edge: Edge, new: Config) -> None:
    edge.reconfigure(new, build.policy(new, Decisions()))


def edge_for(first: Config) -> Edge:
    return Edge(asyncio.get_running_loop(), first, build.policy(first, Decisions()), access=AccessLog(""), shipper=None)


async def test_what_did_not_change_is_carried_over() -> None:
    edge = edge_for(config())
    first = edge.terms
    reconfigure(edge, config())
    assert edge.terms is not first
    assert edge.terms.pools == first.pools
    assert edge.terms.shadow_pools == first.shadow_pools
    assert edge.terms.identity is first.identity

    reconfigure(edge, config(port=3))
    assert edge.terms.pools["legacy"] is not first.pools["legacy"]
    assert edge.terms.pools["new"] is first.pools["new"]
    assert edge.terms.identity is not first.identity

    second = edge.terms
    reconfigure(edge, config(port=3, cache=11, timeout=6))
    assert edge.terms.pools == second.pools
    assert edge.terms.shadow_pools["new"] is not second.shadow_pools["new"]
    assert edge.terms.identity is not second.identity

    third = edge.terms
    reconfigure(edge, config(port=3, cache=11, timeout=6, redact="x-key"))
    assert third.identity is not None
    assert edge.terms.identity is not None
    assert edge.terms.identity.callers is third.identity.callers, "whom legacy knew, it still knows"
    assert not set(map(id, edge.terms.pools.values())) & set(map(id, third.pools.values())), "a connection remembers what was secret"
    edge.close()
    assert edge.deadlines.counts == (0, 1), "what they share is ended once"


async def test_old_terms_end_with_their_last_request() -> None:
    edge = edge_for(config())
    edge.deadlines.start()
    first = edge.terms
    first.in_flight += 1
    for port in range(2, 50):
        reconfigure(edge, config(port))
    assert len(edge.retired) == 48
    assert edge.in_flight == 1
    await asyncio.sleep(TICK * 3)
    assert edge.retired == [first]
    first.in_flight -= 1
    await asyncio.sleep(TICK * 3)
    assert edge.retired == []
    fresh = edge_for(config())
    assert edge.deadlines.counts == fresh.deadlines.counts
    edge.close()
    fresh.close()


WATCHED = """
[upstreams.legacy]
url = "http://127.0.0.1:{port}"
health = {{ path = "/", interval = "60s" }}
[upstreams.new]
url = "https://127.0.0.1:2"
tls = {{ ca = "ca.pem" }}
"""


async def test_terms_that_cannot_be_made_leave_nothing_behind(tmp_path: Path) -> None:
    """A file that was good when the configuration was judged is not any more: what was made before that is found out would never end."""

    def watched(port: int) -> Config:
        return parse(tmp_path / "banyan.toml", WATCHED.format(port=port))

    def under_way() -> list[str]:
        return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("health of"))

    good = Authority(tmp_path, "ca").ca.read_bytes()
    edge = edge_for(watched(1))
    first, counts, tasks = edge.terms, edge.deadlines.counts, under_way()
    assert tasks == ["health of legacy at 127.0.0.1:1"]
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(TlsError):
        reconfigure(edge, watched(3))
    assert (edge.terms, edge.deadlines.counts, under_way()) == (first, counts, tasks)
    (tmp_path / "ca.pem").write_bytes(good)
    reconfigure(edge, watched(3))
    edge.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert under_way() == []
