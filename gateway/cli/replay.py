"""`banyan replay`: recorded requests, asked again of two sides and compared; for CI, too, without a gateway and without a database."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.settings import Config

type Form = Literal["text", "json", "html", "junit"]
type Source = Literal["mitm", "har", "jsonl", "log"]

REFERENCES = ("legacy", "recorded")
OTHERS = ("candidate", "legacy")
HOST = re.compile(r"[!-~]+")
"""What a Host field may be made of; the edge has its own opinion of the rest."""
INTERRUPTED = 130
"""As shells have it, of what Ctrl-C has ended."""


def replay(
    recording: Path,
    *,
    route: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    against: str = "legacy,candidate",
    rate: float = 50.0,
    as_recorded: Annotated[bool, Parameter(negative=())] = False,
    speed: float = 1.0,
    concurrency: int = 16,
    user: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    unsafe: Annotated[bool, Parameter(negative=())] = False,
    credentials: Annotated[bool, Parameter(negative=())] = False,
    host: str = "",
    https: Annotated[bool, Parameter(negative=())] = False,
    noise: float = 0.1,
    min_match: float = 1.0,
    state: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    store: Annotated[bool, Parameter(negative=())] = False,
    source: Annotated[Source | None, Parameter(name="--from")] = None,
    form: Annotated[Form, Parameter(name="--format")] = "text",
    output: Path | None = None,
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Asks recorded requests again, of legacy and of the candidate, and compares the answers by the rules in banyan.toml.

    Example: banyan replay traffic.mitm --route reviews --rate 50 --min-match 0.999

    Requests go to the upstreams of banyan.toml alone, whatever host the recording names, with Banyan-Shadow: 1. Exit status 1: too little
    matches, or too little of what was asked could be compared.

    Parameters
    ----------
    recording
        A mitmproxy flow file, a HAR, JSON lines, or an access log of nginx or Apache; also compressed by gzip.
    route
        Only this route; may be given several times. By default every route with a candidate.
    against
        The two sides: legacy,candidate; recorded,candidate (the answers in the recording); or recorded,legacy.
    rate
        Pairs a second; 0: as fast as answers come.
    as_recorded
        At the pace at which the recording was made, in place of --rate. No pause is longer than a minute.
    speed
        With --as-recorded, so many times as fast.
    concurrency
        Pairs under way at once.
    user
        Whom upstreams are told that calls, by the stamp of [identity]; given several times, in turn. By default nobody.
    unsafe
        Also what may change something: only on routes with sandbox = true, and to legacy only with sandbox_legacy = true.
    credentials
        Sends the cookies and Authorization fields of the recording. By default they are left out.
    host
        The Host field of every request. By default the recorded one.
    https
        Upstreams are told that clients came over https.
    noise
        The share of pairs for which legacy is asked twice, to know in what it differs from itself: that does not count as a difference. 0:
        nor is it asked again after a difference, and everything counts.
    min_match
        The match rate, from 0 to 1, that every route must have.
    state
        A file that says how far it came; what was asked before is then not asked again with --resume.
    resume
        Goes on from --state.
    store
        Adds what is found to shadow.database as well, where the console and the gate count it. Only of legacy,candidate.
    source
        The recording's format. By default its content says.
    form
        text; json, for machines; html, one route in one file; junit, for CI tools.
    output
        A file to write the report to, readable by you alone; what was there is replaced. By default standard output.
    config
        The configuration.
    as_json
        As --format json.
    """
    if as_json and form not in ("text", "json"):
        raise RefusalError(f"--json means --format json: it does not go with --format {form}")
    loaded = load_config(config)
    routes = _routes(loaded, route)
    reference, other = _sides(against)
    _check_numbers(rate, speed, concurrency, noise, min_match)
    if resume and state is None:
        raise RefusalError("--resume goes on from a file: name it with --state")
    if store and (reference, other) != ("legacy", "candidate"):
        raise RefusalError(
            f"--store adds to what the gate counts of the candidate against legacy: with --against {reference},{other} leave it out"
        )
    if host and HOST.fullmatch(host) is None:
        raise RefusalError(f"--host {host!r}: write a name as in shop.example or shop.example:8080, of visible ASCII characters alone")
    if as_recorded is False and speed != 1.0:
        raise RefusalError("--speed means nothing without --as-recorded")
    if form == "html" and len(routes) != 1:
        raise RefusalError("--format html shows one route: name it with --route")
    if output is not None and not output.parent.is_dir():
        raise RefusalError(f"--output {output}: there is no folder {output.parent}")
    if user and loaded.identity.stamp is None:
        raise RefusalError("--user: upstreams are told who calls by a stamp, and [identity] stamp is not set")
    if user and (
        nobody := [
            each.name for each in loaded.routes if each.identity == "ignored" and not each.split and each.name in (routes or (each.name,))
        ]
    ):
        print(f'banyan: --user: identity = "ignored" on {", ".join(nobody)}: there upstreams are told of nobody', file=sys.stderr)

    from gateway.cli.replaying import Bar, rendered
    from recorded.reading import Format
    from shadow.replay.asking import Options
    from shadow.replay.outcome import outcome
    from shadow.replay.session import Asked, ReplayError, conduct

    options = Options(
        reference,
        other,
        0.0 if as_recorded else rate,
        speed if as_recorded else 0.0,
        concurrency,
        noise if reference == "legacy" else 0.0,
        user,
        https,
    )
    asked = Asked(recording, Format(source) if source else None, routes, unsafe, credentials, host, state, resume, store)
    bar = Bar()
    try:
        result = conduct(loaded, asked, options, bar.tell)
    except ReplayError as error:
        raise RefusalError(str(error)) from error
    finally:
        bar.end()
    found = outcome(result.tally, min_match, routes, {route.name: route.gate.coverage for route in loaded.routes})
    text = rendered("json" if as_json else form, loaded, asked, options, result, found)
    if output is not None:
        from gateway.cli.report import write

        write(output, text)
        print(f"written: {output}", file=sys.stderr)
    elif form == "text" and not as_json:
        sys.stdout.write(text)
    else:
        sys.stdout.buffer.write(text.encode())
    if not result.whole:
        onward = f"go on with --state {state} --resume" if state is not None else "--state FILE would have let it go on"
        print(f"banyan: interrupted after {result.tally.read} entries; {onward}", file=sys.stderr)
        return INTERRUPTED
    return 0 if found.passed else 1


def _routes(config: Config, names: tuple[str, ...]) -> tuple[str, ...]:
    known = {route.name: route for route in config.routes}
    for name in names:
        if name not in known:
            raise RefusalError(f"{config.path}: there is no route {name!r}; there are: {', '.join(known) or 'none'}")
        if known[name].split:
            raise RefusalError(f"{config.path}: the route {name!r} is split between providers: it has no candidate that could be compared")
    if not any(not route.split for route in config.routes):
        raise RefusalError(f"{config.path}: no route has a candidate that could be compared")
    return tuple(dict.fromkeys(names))


def _sides(against: str) -> tuple[str, str]:
    reference, _, other = (part.strip() for part in against.partition(","))
    if reference not in REFERENCES or other not in OTHERS or reference == other:
        raise RefusalError(f"--against {against}: write legacy,candidate or recorded,candidate or recorded,legacy")
    return reference, other


def _check_numbers(rate: float, speed: float, concurrency: int, noise: float, min_match: float) -> None:
    if not 0 <= rate <= 1_000_000:
        raise RefusalError(f"--rate {rate:g}: write pairs a second, or 0 for as fast as answers come")
    if not 0 < speed <= 1_000_000:
        raise RefusalError(f"--speed {speed:g}: write a number above 0, such as 2 for twice as fast")
    if not 1 <= concurrency <= 1000:
        raise RefusalError(f"--concurrency {concurrency}: write 1 to 1000")
    if not 0 <= noise <= 1:
        raise RefusalError(f"--noise {noise:g}: write a share from 0 to 1")
    if not 0 <= min_match <= 1:
        raise RefusalError(f"--min-match {min_match:g}: write a share from 0 to 1, such as 0.999")
