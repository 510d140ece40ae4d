"""`banyan signatures`: what differs on a route, and what people say of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from gateway.cli.comparison import opened, stored
from gateway.cli.shared import RefusalError, who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shadow.examples import Example
    from shadow.report import SignatureLine
    from shadow.states import Change

ConfigFile = Annotated[Path, Parameter(name="--config", help="The configuration.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")]

app = App(
    name="signatures",
    help="""Lists what differs between legacy and the candidate of a route, and says of it that it is a bug, or fixed.

    Example: banyan signatures list reviews

    --help after a verb says more of it.""",
)


@app.command(name="list", sort_key=1)
def show_all(route: str, /, *, state: str = "", config: ConfigFile = Path("banyan.toml"), as_json: Json = False) -> int:
    """Every signature that is kept of a route: what still has to be looked at first, then the most frequent.

    Example: banyan signatures list reviews --state new

    Parameters
    ----------
    route
        Its name.
    state
        Only those that are new, expected, bug or fixed.
    """
    from shadow import states

    if state and state not in states.STATES:
        raise RefusalError(f"--state: {state!r} is no state: {', '.join(states.STATES)} are")
    with opened(config, route):
        from shadow import report

        lines = [line for line in report.signatures(route) if state in ("", line.state)]
        histories = states.histories(line.id for line in lines) if as_json else {}
    if as_json:
        print(json.dumps([_plain(route, line, histories[line.id]) for line in lines], indent=2))
    else:
        print("\n".join(_table(lines)))
    return 0


@app.command(sort_key=2)
def show(number: int, /, *, config: ConfigFile = Path("banyan.toml"), as_json: Json = False) -> int:
    """One signature: what it is, who has said what of it, and its newest sample, with the request as a curl line.

    Example: banyan signatures show 12

    Parameters
    ----------
    number
        Its number, as `banyan signatures list` shows it.
    """
    from shadow import states

    with stored(config):
        from shadow import report
        from shadow.examples import examples

        found = report.signature(number)
        history = states.history(number) if found else ()
        shown = examples([number])[number]
    if found is None:
        raise RefusalError(_unknown(number))
    route, line = found
    if as_json:
        print(json.dumps({**_plain(route, line, history), "examples": [asdict(example) for example in shown]}, indent=2))
    else:
        print("\n".join([*_shown(route, line, history), *_examples(shown)]))
    return 0


@app.command(name="set", sort_key=3)
def set_state(
    number: int,
    state: Literal["new", "bug", "fixed", "expected"],
    /,
    *,
    why: str,
    by: str = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Says of a signature what it is. Kept with who said so, when and why.

    Example: banyan signatures set 12 bug --why "the candidate rounds"

    A bug keeps the gate shut until it is fixed. One that is fixed is new again once it is seen in an exchange that happened after this.

    Parameters
    ----------
    number
        Its number, as `banyan signatures list` shows it.
    state
        new, bug or fixed. What is expected says a rule, which has an author, a reason and an end.
    why
        For whoever finds it.
    by
        Who. By default your login name and this machine's.
    """
    from shadow import states

    if state == states.EXPECTED:
        raise RefusalError(
            "what is expected says a rule, which has an author, a reason and an end: `banyan rules add` (docs/reference/rules.md). "
            "Nothing was changed"
        )
    with stored(config):
        from shadow import report

        try:
            made = states.change(number, state, by=by or who(), why=why)
        except states.UnknownSignatureError as error:
            raise RefusalError(_unknown(number)) from error
        except states.StateError as error:
            raise RefusalError(f"{error}. Nothing was changed") from error
        found = report.signature(number)
        history = states.history(number)
    if found is None:
        raise RefusalError(_unknown(number))
    route, line = found
    if made is None:
        print(f"note: {number} is {state} already; nothing was changed", file=sys.stderr)
    if as_json:
        print(json.dumps(_plain(route, line, history), indent=2))
    elif made is not None:
        print(_readable(f"{number}  {line.kind} {line.path} of {route}: {made.old} to {made.new}"))
    return 0


def _unknown(number: int) -> str:
    return f"there is no signature {number}: `banyan signatures list ROUTE` lists those of a route"


def _plain(route: str, line: SignatureLine, history: tuple[Change, ...]) -> dict[str, Any]:
    from shadow.report import plain_line

    return {"route": route, **plain_line(line), "history": [asdict(change) for change in history]}


def _readable(text: str) -> str:
    from flags.admin.states import plain

    return plain(text)


def _table(lines: list[SignatureLine]) -> Iterator[str]:
    from gateway.cli.flags.shown import clock

    rows = [("ID", "STATE", "EXCHANGES", "LAST SEEN", "FIRST SEEN", "WHAT")]
    rows += [
        (str(line.id), line.state, str(line.count), clock(line.last_seen), clock(line.first_seen), f"{line.kind} {line.path}")
        for line in lines
    ]
    numbers = (0, 2)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [f"{row[column]:{'>' if column in numbers else '<'}{width}}" for column, width in enumerate(widths)]
        yield _readable("  ".join([*cells, row[5]]))


def _shown(route: str, line: SignatureLine, history: tuple[Change, ...]) -> Iterator[str]:
    from gateway.cli.flags.shown import clock

    yield _readable(f"{line.id}  {line.kind} {line.path} of {route}: {line.state}")
    exchanges = f"{line.count} exchange{'' if line.count == 1 else 's'}"
    yield f"  seen     in {exchanges}, first {clock(line.first_seen)}, last {clock(line.last_seen)}"
    for change in history:
        yield _readable(f"  history  {clock(change.at)}  {change.old} to {change.new}, by {change.by}: {change.why}")


def _examples(found: list[Example]) -> Iterator[str]:
    from gateway.cli.flags.shown import clock

    for example in found:
        yield _readable(f"  example  {clock(example.at)}  {example.method} {example.target}, request {example.request_id}")
        yield _readable(f"           legacy {example.legacy}, candidate {example.candidate}")
        for shown in example.differences:
            yield _readable(f"           {shown.path}: {_value(shown.legacy)} became {_value(shown.candidate)}")
        yield from (_readable(f"           {text}") for text in (example.curl, *example.notes) if text)


def _value(text: str | None) -> str:
    return "nothing" if text is None else text
