"""`banyan mark`: says that something was deployed, so that charts and the timeline show it where the figures change."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.comparison import stored
from gateway.cli.shared import RefusalError, who

AHEAD_SECONDS = 60.0
"""How far a clock may be before this one's."""


def mark(
    text: str,
    /,
    *,
    route: Annotated[list[str] | None, Parameter(negative=())] = None,
    at: str = "",
    by: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Marks a deployment in the charts and on the console's timeline.

    Example: banyan mark "reviews 1.4.2" --route reviews

    Exit status 1: it was marked before.

    Parameters
    ----------
    text
        What was deployed.
    route
        Whose candidate it is; once for each route. By default it is shown with every route.
    at
        When: 2026-11-30T14:05:00+09:00, or Unix seconds. By default now. With it, the same again is no second mark.
    by
        Who. By default your login name and this machine's.
    config
        The configuration.
    as_json
        For machines.
    """
    text = text.strip()
    if not text or len(text) > _longest():
        raise RefusalError(f"say what was deployed, in up to {_longest()} characters")
    now = time.time()
    moment = _moment(at, now) if at else now
    name = by.strip() or who()
    with stored(config) as loaded:
        known = [each.name for each in loaded.routes]
        for each in route or ():
            if each not in known:
                raise RefusalError(f"{config}: there is no route {each!r}; there are: {', '.join(known) or 'none'}")
        from shadow import events

        marked = []
        for each in dict.fromkeys(route or [""]):
            key = events.key(each, text, moment) if at else ""
            marked.append((each, events.record("deployment", moment, text, route=each, by=name, key=key)))
    if as_json:
        print(
            json.dumps({"text": text, "at": moment, "by": name, "marks": [{"route": each, "new": new} for each, new in marked]}, indent=2)
        )
    else:
        when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        for each, new in marked:
            print(f"{each or 'every route'}: {'marked' if new else 'was marked before'}, {when}")
    return 0 if any(new for _, new in marked) else 1


def _longest() -> int:
    from shadow.events import MAX_TEXT

    return MAX_TEXT


def _moment(text: str, now: float) -> float:
    """
    Raises:
        RefusalError: it is none, or is to come.
    """
    try:
        found = float(text)
    except ValueError:
        try:
            said = datetime.fromisoformat(text)
        except ValueError:
            raise RefusalError(f"--at {text}: write 2026-11-30T14:05:00+09:00, or Unix seconds") from None
        if said.tzinfo is None:
            raise RefusalError(f"--at {text}: say in which zone, as in {text}Z or {text}+09:00") from None
        found = said.timestamp()
    if not 0 <= found <= now + AHEAD_SECONDS:
        raise RefusalError(f"--at {text}: that is not a moment of the past")
    return found
