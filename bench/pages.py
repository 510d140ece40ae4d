"""How long the console takes for each of its pages when a day of a busy gateway is stored: `python -m bench console`.

A real console in a process of its own, on what bench.seeded makes; every page is asked for again and again over one kept connection, as a
browser with a session would, and the whole of the answer is waited for. So what is measured is a little more than the server's own time.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench import cpu
from bench.bars import BARS
from bench.section import Section
from bench.seeded import Size
from bench.stage import ClientError, Say
from demo.processes import answers, listen, python, start

USER, PASSWORD = "bench", "a bench has no secrets"
PAGES = {
    "routes, a day": "/?span=24h",
    "routes, an hour": "/?span=1h",
    "a route, a day": "/routes/reviews/?span=24h",
    "a route, an hour": "/routes/reviews/?span=1h",
    "its charts' points, a day": "/routes/reviews/series.json?span=24h",
    "its rules": "/routes/reviews/rules/",
    "a signature": "{signature}",
    "a signature, with its newest sample": "{signature_root}",
    "marking it expected, with the preview": "{signature_root}expect/",
    "flags": "/flags/",
    "a change of a flag": "/flags/changes/1/",
    "overriding a flag": "/flags/reviews/override/",
    "beginning a gate anew": "/routes/reviews/gate/begin/",
    "taking that back": "/routes/reviews/gate/1/take-back/",
    "a rule": "/rules/1/",
    "a signature's raw answer": "{signature}legacy.txt",
    "the timeline": "/timeline/",
    "the timeline of a route": "/timeline/?route=reviews",
    "endpoints, an hour": "/endpoints/",
    "endpoints, a day": "/endpoints/?span=24h",
    "an endpoint": "/endpoints/start/?method=GET&template=/api/v1/reviews/%7Bid%7D/part0",
    "what of legacy is left": "/endpoints/burndown/",
    "data that moves": "/events/",
    "the audit": "/audit/",
    "the audit of a person": "/audit/?by=person3",
    "an entry of the audit": "/audit/1/",
    "an operation": "/operations/1/",
    "one's own account": "/account/",
    "changing the password": "/account/password/",
}
"""What there is to look at, by the words in the table. Numbers begin with 1 in a database that is new."""
UNMEASURED = {
    "audit-export": "a file of up to 50,000 rows, which is written as long as it takes",
    "login": "nobody is logged in there, and nothing is looked up; checking a password is slow on purpose",
    "payments": "it shows 220 rows at most of the gateway's ledger, another database, and stored exchanges are none of its business",
    "payment-settle": "only of a payment that is in doubt, which takes a running gateway; it shows that one",
    "override-end": "only of a flag that is overridden, which takes a running gateway; it is the page of overriding with another button",
}
"""Pages, by their names in console/urls.py, that are not measured, and why."""
_COLUMNS = ["page", "median, ms", "slowest, ms", "KiB"]


@dataclass
class Took:
    """Of one page."""

    milliseconds: list[float] = field(default_factory=list)
    size: int = 0


def run(*, size: Size | None = None, rounds: int = 15, only: Sequence[str] = (), say: Say) -> Section:
    """Raises ClientError where a page was not answered with 200. `only` has no meaning here: there are no peers."""
    del only
    size = size or Size()
    with cpu.ahead(), tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        say(f"console: storing {size.exchanges:,} exchanges")
        _seed(folder, size)
        say("console: starting it")
        console = start(
            "console",
            python("-m", "console", "--config", str(folder / "banyan.toml"), "--fd", "{fd}"),
            log_dir=folder,
            sock=listen(),
            env={"BANYAN_CONSOLE_USER": USER, "BANYAN_CONSOLE_PASSWORD": PASSWORD},
            ready=answers("/login/"),
        )
        try:
            took = _ask(console.url, rounds, say)
        finally:
            console.stop(10.0)
    rows = [
        [page, f"{statistics.median(each.milliseconds):.0f}", f"{max(each.milliseconds):.0f}", f"{each.size / 1024:.0f}"]
        for page, each in took.items()
    ]
    slowest = max(statistics.median(each.milliseconds) for each in took.values())
    return Section(
        "Console: its pages",
        _COLUMNS,
        rows,
        intro=(
            f"{size.exchanges:,} exchanges of a day, {size.signatures} signatures and {size.routes} routes are stored in SQLite"
            f" (`python -m bench.seeded FOLDER` makes the same to look at). Each page is asked for {rounds} times over a kept connection;"
            " the time is the client's, from the request to the answer's last byte."
        ),
        verdicts=[BARS["console"].judge(slowest)],
        data={"pages": {page: {"milliseconds": each.milliseconds, "bytes": each.size} for page, each in took.items()}},
    )


def _seed(folder: Path, size: Size) -> None:
    """In a process of its own, as Django is set up once in one."""
    command = python("-m", "bench.seeded", str(folder), "--exchanges", str(size.exchanges))
    command += ["--signatures", str(size.signatures), "--routes", str(size.routes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)  # noqa: S603 - a module of ours
    if done.returncode:
        raise ClientError(f"nothing could be stored: {done.stderr.strip().rpartition('\n')[2]}")


def _ask(url: str, rounds: int, say: Say) -> dict[str, Took]:
    took = {page: Took() for page in PAGES}
    with httpx.Client(base_url=url, timeout=60, follow_redirects=True) as client:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/login/").text)
        if found is None:
            raise ClientError("the login page has no form")
        form = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
        client.post("/login/", data=form, headers={"Referer": url})
        root = _signature(client)
        samples = re.search(rf"{root}samples/\d+/", client.get(root).text)
        if samples is None:
            raise ClientError("the signature's page names no sample")
        places = {"signature": samples[0], "signature_root": root}
        for number in range(-1, rounds):  # the first is for warming up
            say(f"console: round {number + 1} of {rounds}")
            for page, path in PAGES.items():
                began = time.perf_counter()
                answer = client.get(path.format(**places))
                milliseconds = 1000 * (time.perf_counter() - began)
                if answer.status_code != 200 or answer.url.path == "/login/":
                    raise ClientError(f"{page}: {answer.status_code} for {answer.url.path}")
                took[page].size = len(answer.content)
                if number >= 0:
                    took[page].milliseconds.append(milliseconds)
    return took


def _signature(client: httpx.Client) -> str:
    found = re.search(r'href="(/signatures/\d+/)', client.get("/routes/reviews/?span=24h").text)
    if found is None:
        raise ClientError("the route's page names no signature")
    return found[1]
