"""The benchmark measures what it says: real peers for a moment, and a bar that is missed is an error."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from bench.load import BODIES, request
from bench.passthrough import verdicts
from bench.proxies import Figures, Result
from demo.processes import ROOT
from tests.support.required import missing


def figures(name: str, cpu: list[float]) -> Figures:
    return Figures(name, "1", cpu=cpu, beside=[0.0] * len(cpu), p50=[1.0], p99=[2.0], rate=[2000.0])


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was twice as slow in the second round, for both.
    assert figures("Banyan", [50, 100, 51]).ratio(figures("Envoy", [100, 200, 100])) == 0.5


@pytest.mark.parametrize(("title", "bar"), [("Pass-through", 50), ("Shadow at 100 %", 50)])
def test_a_missed_bar_is_said(title: str, bar: int) -> None:
    def held(banyan: float, load: str) -> list[bool]:
        result = Result(title, load, {"banyan": figures("Banyan", [banyan]), "envoy": figures("Envoy", [100.0])}, {})
        return [verdict.held for verdict in verdicts(result)]

    assert held(bar - 0.1, "as fast as answers come") == [True]
    assert held(bar + 0.1, "as fast as answers come") == [False]
    assert held(bar + 0.1, "2000 requests/s") == [], "the bar stands where the core is busy"


def test_no_two_requests_are_the_same() -> None:
    made = {request(number, b"s") for number in range(5000)}
    assert len(made) == 5000
    (head,) = {each.count(b"\r\n") for each in made}
    assert head == 1 + 12 + 1, "a request line, twelve fields, an empty line"
    assert len({len(body) for body in BODIES.values()}) == len({each.split(b"?")[0] for each in made}) == 7, "and no two pages either"


def test_a_run_beside_nginx() -> None:
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        missing("nginx is not installed (apt-get install nginx-light)")
    command = [
        sys.executable,
        "-m",
        "bench",
        "passthrough",
        "shadow",
        "--only",
        "banyan,nginx",
        "--rounds",
        "1",
        "--seconds",
        "0.5",
        "--rate",
        "0",
        "--json",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [(each["scenario"], each["load"]) for each in told] == [
        ("Pass-through", "as fast as answers come"),
        ("Shadow at 100 %", "as fast as answers come"),
    ]
    for each in told:
        assert set(each["peers"]) == {"banyan", "nginx"}
        for peer in each["peers"].values():
            assert 1 < peer["cpu_us"][0] < 10_000
            assert 0 < peer["p50_ms"][0] <= peer["p99_ms"][0]


def test_the_command_passes_everything_on() -> None:
    command = [sys.executable, "-m", "gateway.cli", "bench", "idle", "--only", "nobody", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 2
    assert "--only: no peer is called nobody: nginx, haproxy, envoy, mitmproxy, banyan" in ended.stderr
