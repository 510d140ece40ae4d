"""`banyan rules preview`: what a rule would hide, and what the gate would say, before anybody makes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.comparison import moment, opened, percent
from gateway.cli.rules.shared import ConfigFile, Json, Kind, Place, Since, Value, asked, base_of, for_machines, matched, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shadow.preview import Preview


def preview(
    route: str,
    kind: Kind,
    path: Place,
    value: Value = "",
    /,
    *,
    since: Since = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """What a rule would let pass: signatures, exchanges, the match rate and the gate with it, and examples. Changes nothing.

    Example: banyan rules preview reviews tolerance '$.score' 0.01 --since 2d

    Exit status 1: it would make nothing that is kept a match.

    Parameters
    ----------
    route
        Its name.
    """
    rule = asked(kind, path, value)
    start = moment(since)
    with opened(config, route) as configured:
        from shadow import preview as previews

        gate = configured.gate
        found = previews.of_adding(route, rule, base_of(configured), terms=gate, since=start)
    if as_json:
        print(json.dumps({"route": route, **for_machines(found)}, indent=2))
    else:
        for line in lines(found):
            print(plain(line))
    return 0 if found.matches_gained or found.samples_matching else 1


def lines(found: Preview) -> Iterator[str]:
    """A preview in words."""
    yield f"{found.before.route}: {found.rule}"
    if found.ending:
        yield f"  exchanges   {-found.matches_gained} that are matches would differ again (exact: by what differed together in each)"
    elif found.counted:
        yield f"  exchanges   {found.matches_gained} that differed would be matches (exact: by what differed together in each)"
    if found.counted:
        yield f"  match rate  {matched(found.before)}"
        yield f"  would be    {matched(found.after)}"
    else:
        yield "  exchanges   counts can't tell: the rule depends on values, which are kept in samples alone"
        yield f"  match rate  {matched(found.before)}, as far as it is about the past"
    if found.samples or found.samples_unread:
        unread = f"; {found.samples_unread} could not be judged again" if found.samples_unread else ""
        yield f"  samples     {found.samples_matching} of {found.samples} would match; they are some of {found.of} exchanges{unread}"
    yield f"  gate        {_gate(found)}"
    for hidden in found.hidden:
        yield f"  {hidden.exchanges:>9} x {hidden.kind} {hidden.path}" + (f" ({hidden.state})" if hidden.state else "")
    for kind, path in found.settled:
        yield f"  every sample of {kind} {path} would be excused"
    for text in found.already:
        yield f"  note: {text} lets some of it pass already"
    if found.before.untold:
        yield f"  note: of {found.before.untold} mismatches it is not known what differed together; they stay mismatches"
    for example in found.examples:
        yield f"  example {example.sample}: {example.curl}"
        for difference in example.differences:
            sides = " | ".join(json.dumps(difference[side], ensure_ascii=False) for side in ("legacy", "candidate"))
            yield f"    {difference['kind']} {difference['path']}: {sides}"


def _gate(found: Preview) -> str:
    def said(passed: bool, lower: float) -> str:
        return f"{'passed' if passed else 'not passed'} ({percent(lower)} or more at 95 % confidence)"

    before, after = found.gate_before, found.gate_after
    now = said(before.passed, before.lower)
    return f"{now}; with{'out' if found.ending else ''} the rule {said(after.passed, after.lower)}" if found.counted else now
