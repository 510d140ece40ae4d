"""How many pairs a second `banyan replay` gets through: read from a recording, asked of instant upstreams, redacted, compared, counted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.bars import BARS
from bench.section import Section
from bench.stage import Say, client, module

COUNT = 4000
_COLUMNS = ["a pair", "bytes of an answer", "pairs a second", "over the rounds"]
_FIELDS = [
    ["Host", "shop.test"],
    ["User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"],
    ["Accept", "application/json, text/plain, */*"],
    ["Accept-Language", "ko-KR,ko;q=0.9,en;q=0.8"],
    ["Accept-Encoding", "gzip, deflate, br, zstd"],
    ["Referer", "https://shop.test/items/3/"],
    ["Cookie", "sessionid=0123456789abcdef0123456789abcdef; csrftoken=abcdef"],
    ["Sec-Fetch-Dest", "empty"],
    ["Sec-Fetch-Mode", "cors"],
    ["Sec-Fetch-Site", "same-origin"],
    ["X-App-Version", "4.2.0"],
    ["Cache-Control", "no-cache"],
]
_CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:{port}"
candidate = "http://127.0.0.1:{port}"
[[routes]]
name = "same"
match = "/same/*"
candidate = "candidate"
[[routes]]
name = "one"
match = "/one/*"
candidate = "candidate"
rewrite = "/other/*"
"""


@dataclass(frozen=True)
class _Case:
    what: str
    route: str
    records: int
    share: float = 1.0
    """Of COUNT."""


EQUAL = _Case("equal bytes", "same", 3)
PARSED = _Case("equal once parsed", "one", 3)
LARGE = _Case("equal once parsed, larger", "one", 60, 0.1)
_CASES = (EQUAL, PARSED, LARGE)


def _recording(path: Path, case: _Case, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"method": "GET", "target": f"/{case.route}/{case.records}/{number}", "headers": _FIELDS}) + "\n")


def run(*, only: Sequence[str] = (), rounds: int = 5, count: int = COUNT, say: Say) -> Section:
    """`only` names peers, of which there are none here.

    Raises:
        ClientError: a pair that was not compared, or that differs.
    """
    from bench.instant import answer

    found: dict[str, list[float]] = {case.what: [] for case in _CASES}
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        upstream = module("bench.instant", folder, "/one/1/ready")
        try:
            cpu.pin([upstream.pid], cpu.PROXY_CORE)
            (folder / "banyan.toml").write_text(_CONFIG.format(port=upstream.port))
            for case in _CASES:
                _recording(folder / f"{case.what}.jsonl", case, max(1, int(count * case.share)))
            for number in range(rounds):
                for case in _CASES:
                    say(f"replay: {case.what}, round {number + 1} of {rounds}")
                    recording, config = str(folder / f"{case.what}.jsonl"), str(folder / "banyan.toml")
                    told = client("gateway.cli", "replay", recording, "--config", config, "--rate", "0", "--json", timeout=120)
                    found[case.what].append(told["compared"] / told["seconds"])
        finally:
            upstream.stop()
    rows = []
    for case in _CASES:
        speeds = sorted(found[case.what])
        size = len(answer(case.route.encode(), case.records).partition(b"\r\n\r\n")[2])
        rows.append([case.what, f"{size:,}", f"{_median(speeds):,.0f}", f"{speeds[0]:,.0f} to {speeds[-1]:,.0f}"])
    verdicts = [BARS["replay"].judge(_median(sorted(found[PARSED.what])))]
    return Section(
        "Replaying", _COLUMNS, rows, _INTRO.format(rounds=rounds, count=count), verdicts=verdicts, data={"pairs_a_second": found}
    )


def _median(speeds: list[float]) -> float:
    return speeds[len(speeds) // 2]


_INTRO = """
`banyan replay --rate 0`, all of it on one core: {count:,} recorded requests with 12 header fields are read from JSON lines, routed, asked
of both sides (and of legacy twice for a tenth of them), redacted by the default rules, compared and counted; {rounds} rounds, their median.
The upstreams are one process on the other core, which answers at once. Of the larger answers, a tenth as many.
"""
