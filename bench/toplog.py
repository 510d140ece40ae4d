"""`banyan top` on an access log of a million lines: a shop's, and one in which no two paths are the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.bars import BARS
from bench.section import Section
from bench.stage import ClientError, Say
from demo.processes import ROOT, python

LINES = 1_000_000
PATIENCE = 240.0
_LOOK_SECONDS = 0.05
_COLUMNS = ["a million lines", "MB", "s", "CPU, s", "peak memory, MiB", "endpoints"]
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"
_WORDS = ["red", "blue", "green", "rain", "snow", "wind", "apple", "pear", "plum", "oak", "elm", "ash", "north", "south", "gold", "teal"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Run:
    """What was measured of one log."""

    what: str
    megabytes: float
    seconds: float
    cpu: float
    memory: float
    """MiB, of all processes together at once, what they share counted in each."""
    endpoints: int


def run(*, only: Sequence[str] = (), lines: int = LINES, say: Say) -> Section:
    """`only` names peers, of which there are none here."""
    with cpu.ahead(), tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        runs = [_measured(what, Path(folder) / "access.log", target, lines, say) for what, target in _KINDS.items()]
    verdicts = [
        BARS["top"].judge(max(each.seconds for each in runs)),
        BARS["top-memory"].judge(max(each.memory for each in runs)),
    ]
    rows = [
        [each.what, f"{each.megabytes:.0f}", f"{each.seconds:.1f}", f"{each.cpu:.1f}", f"{each.memory:.0f}", str(each.endpoints)]
        for each in runs
    ]
    data: dict[str, object] = {"runs": {each.what: vars(each) for each in runs}}
    return Section("Endpoints of an access log", _COLUMNS, rows, _INTRO, verdicts=verdicts, data=data)


def _shop(chance: random.Random, number: int) -> str:
    return chance.choice(
        [
            f"/api/v1/reviews/?item={chance.randrange(5000)}",
            f"/api/v1/reviews/{chance.randrange(100_000)}",
            f"/api/v1/recommendations/{chance.randrange(5000)}",
            f"/items/{chance.randrange(5000)}/",
            f"/static/shop/app.{number % 9:08x}a1.css",
            "/api/v1/users/me",
            "/",
        ]
    )


def different(chance: random.Random, number: int) -> str:
    """A path that comes once, of one of four kinds."""
    kind = number % 4
    if kind == 0:
        return f"/products/{'-'.join(chance.choices(_WORDS, k=3))}-{number}"
    if kind == 1:
        return f"/{''.join(chance.choices(_LETTERS, k=9))}/{number}?page={number}"
    if kind == 2:
        return f"/{'/'.join(chance.choices(_WORDS, k=4))}/{number:x}"
    return f"/api/v1/reviews/{number}"


_KINDS: dict[str, Callable[[random.Random, int], str]] = {"a shop's": _shop, "no two paths the same": different}


def write(path: Path, target: Callable[[random.Random, int], str], lines: int) -> None:
    """A log of so many lines, the same in each run."""
    chance = random.Random(9)  # noqa: S311 - the same log in each run
    with path.open("w") as file:
        for number in range(lines):
            if number % 100 == 0:
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(1_780_000_000 + number // 100))
            seconds = chance.expovariate(10)
            status = chance.choice((200, 200, 200, 304, 404))
            file.write(
                f'203.0.113.{number % 250} - - [{stamp}] "GET {target(chance, number)} HTTP/1.1" {status} '
                f'{chance.randrange(20_000)} "https://shop.example/items/" "{_AGENT}" {seconds + 0.001:.3f} {seconds:.3f}\n'
            )


def _measured(what: str, path: Path, target: Callable[[random.Random, int], str], lines: int, say: Say) -> Run:
    say(f"top: writing a log of {lines:,} lines, {what}")
    write(path, target, lines)
    say(f"top: {what}")
    return read(what, path, lines)


def read(what: str, path: Path, lines: int) -> Run:
    """Has `banyan top` read the log at `path`.

    Raises:
        ClientError: it did not count every line.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        command = python("-m", "gateway.cli", "top", str(path), "--json", "--config", str(path.with_name("none.toml")))
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)  # noqa: S603 - our own module
        peak = 0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.perf_counter() - began > PATIENCE:
                process.kill()
                process.wait()
                raise ClientError(f"banyan top took longer than {PATIENCE:.0f} s")
            peak = max(peak, _resident(process.pid))
            time.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise ClientError(f"banyan top ended with status {process.returncode}")
        output.seek(0)
        told = json.loads(output.read())
    if told["total"]["requests"] != lines:
        raise ClientError(f"banyan top counted {told['total']['requests']:,} of {lines:,} lines")
    return Run(what, path.stat().st_size / 1e6, seconds, usage.ru_utime + usage.ru_stime, peak / 2**20, told["known"])


def _resident(pid: int) -> int:
    """Bytes of it and of its children."""
    total = 0
    try:
        for each in (pid, *cpu.children(pid)):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended
    return total


_INTRO = f"""
`banyan top access.log --json`, from its start to its end, on {LINES:,} lines of nginx's combined format with `$request_time` and
`$upstream_response_time` behind it. The second log is what somebody makes who wants the list to run out of room. Memory is the sum of all
its processes' resident pages, looked at every {1000 * _LOOK_SECONDS:.0f} ms; what they share is counted in each.
"""
