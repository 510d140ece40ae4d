"""Each scenario of the edge's bars, tiny, with real peers: that it still measures what it says, not what it would say of this machine."""

import os
import resource
import shutil
import socket
from collections.abc import Callable

import pytest

from bench import (
    bodies,
    busy,
    compare,
    decisions,
    descriptors,
    flagged,
    flips,
    hung,
    identity,
    idle,
    latency,
    pages,
    policy,
    profile,
    replay,
    toplog,
)
from bench.memory import MIB
from bench.section import Section
from bench.seeded import Size
from bench.stage import ClientError, client
from tests.support.required import missing
from tests.support.unleash import required

PEERS = ["banyan", "nginx"]


def said(text: str) -> None: ...


@pytest.fixture(autouse=True)
def _nginx() -> None:
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        missing("nginx is not installed (apt-get install nginx-light)")


def bars(section: Section) -> dict[str, float]:
    assert f"## {section.title}" in section.markdown("measured")
    assert all(len(row) == len(section.columns) for row in section.all_rows())
    return {verdict.bar.what: verdict.seen for verdict in section.verdicts}


def test_bodies() -> None:
    seen = bars(bodies.run(only=[*PEERS, "nginx-unbuffered"], size=MIB, rounds=1, say=said))
    for kind in ("an upload", "a download", "both at once"):
        assert 0.02 < seen[f"Throughput of {kind} over nginx's"] < 50
    assert seen["RSS while bodies pass, farthest from before"] < 20


def test_idle_connections() -> None:
    section = idle.run(only=PEERS, count=50, settle=0.1, say=said)
    assert set(section.data["peers"]) == set(PEERS)  # type: ignore[call-overload] # it is a dict
    assert bars(section)["Memory of an idle connection"] < 400  # of 50 connections, a page here or there


def test_busy_connections() -> None:
    section = busy.run(only=PEERS, count=50, seconds=1.2, say=said)
    assert 10 < bars(section)["RSS at 1,000 busy connections"] < 200


def test_latency() -> None:
    section = latency.run(only=PEERS, rounds=1, seconds=0.3, say=said)
    assert list(bars(section)) == ["p99 added at half load"]
    assert {row[0].split()[0] for row in section.rows} == {"no", "nginx", "Banyan"}


def test_a_candidate_that_hangs() -> None:
    section = hung.run(rounds=1, seconds=0.3, say=said)
    seen = bars(section)
    assert -1000 < seen["p99 moved by a candidate in the shadow that hangs"] < 1000
    assert seen["RSS with a candidate that hangs, over before"] < 100
    assert [row[0].split()[0] for row in section.rows] == ["nothing", "every"]


def test_the_console() -> None:
    section = pages.run(size=Size(2000, 20, 4), rounds=1, say=said)
    assert [row[0] for row in section.rows] == list(pages.PAGES)
    assert all(int(row[3]) >= 1 for row in section.rows)
    assert 1 < bars(section)["The console's slowest page, with a million exchanges stored"] < 100_000


def test_the_profile() -> None:
    section = profile.run(only=["nginx"], rounds=1, seconds=0.5, deep=False, say=said)
    assert [row[0] for row in section.rows][:3] == ["kernel", "event loop", "Banyan's own"]
    together = float(section.rows[3][1].strip("*"))
    assert together == pytest.approx(sum(float(row[1]) for row in section.rows[:3]), abs=0.2)
    assert 1 < together < 10_000


def test_a_connection_that_is_closed_spoils_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = str(nobody.getsockname()[1])
    with pytest.raises(ClientError, match="refused"):
        client("bench.transfer", port, "download", "10", "/dev/null", timeout=20)
    with pytest.raises(ClientError, match="refused"):
        client("bench.idlers", port, "10", timeout=20)
    with pytest.raises(ClientError, match="refused"):
        client("bench.crowd", port, "10", "1", timeout=20)


def test_too_few_open_files_are_said() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this machine knows no limit")
    run: list[Callable[[], object]] = [
        lambda: descriptors.allow(hard + 1),
        lambda: idle.run(only=PEERS, count=hard, say=said),
        lambda: busy.run(only=PEERS, count=hard, say=said),
    ]
    for each in run:
        with pytest.raises(descriptors.TooFewError, match=f"the hard limit is {hard}"):
            each()


def test_decisions() -> None:
    seen = bars(decisions.run(rounds=1, say=said))
    assert 0 < seen["A remembered decision, constant or sticky"] < 50
    assert 0 < seen["A worker's longest pause while it takes 1,000 new flags"] < 1000


def test_a_route_with_flags_beside_one_without() -> None:
    section = flagged.run(rounds=1, seconds=0.3, say=said)
    assert section.rows[0][0] == flagged.PLAIN
    assert -100 < bars(section)["CPU a request of a route with flags, over one without"] < 100


def test_all_of_the_policy_beside_none() -> None:
    section = policy.run(rounds=1, seconds=0.3, say=said)
    assert [row[0] for row in section.rows] == list(policy._CASES)
    assert -100 < bars(section)["CPU a request of all of the policy, over passing it on"] < 100


def test_comparing() -> None:
    section = compare.run(seconds=0.2, patience=20.0, say=said)
    seen = bars(section)
    assert len(section.rows) == len(compare.CASES)
    assert 100 < seen["Pairs of 1 KB, equal, compared on a core"] < 10_000_000
    assert 1 < seen["Pairs of 27 KB with one change, compared on a core"] < 100_000
    assert 0.1 < seen["A pair of 566 KB with 20 changes"] < 5000
    assert 0.1 < seen["A pair of lists, 800 elements in another order, by key"] < 5000
    assert compare._raw("twenty", "ignore_order", 0.2, patience=0.1) is None, "DeepDiff is ended when it takes too long"


@pytest.mark.unleash
def test_flips() -> None:
    required()
    section = flips.run(count=2, say=said)
    seen = bars(section)
    assert section.missing == {}
    assert len(seen) == 3
    assert all(0 < each < flips.PATIENCE * 1000 for each in seen.values())


def test_identity() -> None:
    section = identity.run(rounds=1, seconds=0.5, periods=0, say=said)
    seen = bars(section)
    assert -50 < seen["CPU a request of a caller who is remembered, with his stamp"] < 200
    assert 0 <= seen["Requests that ask legacy who calls, of 50 users at 500 requests/s"] < 20


def test_an_access_log() -> None:
    section = toplog.run(lines=2000, say=said)
    seen = bars(section)
    assert 0 < seen["banyan top on an access log of a million lines"] < 60
    assert 5 < seen["Memory of banyan top on that, all its processes"] < 200


def test_replay() -> None:
    section = replay.run(rounds=1, count=50, say=said)
    assert bars(section)["Pairs of 1 KB replayed and compared on a core"] > 5
    assert len(section.rows) == 3
