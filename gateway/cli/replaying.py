"""What `banyan replay` shows: a bar while it runs, and its report."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.waiting import Progress

if TYPE_CHECKING:
    from gateway.settings import Config
    from recorded.reading import Recording
    from shadow.examples import Example
    from shadow.replay.asking import Options
    from shadow.replay.outcome import Outcome, RouteOutcome
    from shadow.replay.session import Asked, Result
    from shadow.replay.tally import Tally

VERSION: Final = 1
"""Of the JSON form: a key may be added, and none changes its meaning without a new number."""
EVERY_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 1.0
"""What is over by then needs no bar."""
WIDTH: Final = 24
MOST_LINES: Final = 20
"""Signatures of one route in the text; the other forms have all."""


class Bar:
    """How far it is, by the recording's bytes."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._next = time.monotonic() + QUIET_SECONDS

    def tell(self, recording: Recording, tally: Tally, seconds: float) -> None:
        from shadow.words import percent

        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        share = recording.position / recording.size if recording.size else 1.0
        filled = int(WIDTH * share)
        compared = tally.compared
        matched = sum(route.matched for route in tally.routes.values())
        told = f"{compared} compared, {percent(matched / compared)} match" if compared else "nothing compared yet"
        pace = f"{compared / max(seconds, 0.001):.0f}/s"
        drawn = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {int(100 * share)} %"
        self._progress.tell(f"{drawn}  entry {tally.read}, {told}, {pace}")

    def end(self) -> None:
        self._progress.end()


def rendered(form: str, config: Config, asked: Asked, options: Options, result: Result, found: Outcome) -> str:
    """The report."""
    if form == "text":
        from flags.admin.states import plain

        return "\n".join(map(plain, _text(asked, options, result, found))) + "\n"
    from shadow.replay.report import documents

    made = documents(
        found,
        config,
        recording=asked.recording.name,
        reference=options.reference,
        other=options.other,
        began=result.began,
        made=result.made,
    )
    if form == "json":
        from shadow.reporting.document import plain as plain_document

        about = _about(asked, options, result, found)
        return json.dumps({**about, "routes": [plain_document(document) for document in made]}, indent=2) + "\n"
    if form == "junit":
        from shadow.reporting.junit import junit

        return junit(*made)
    from shadow.reporting.page import page

    return page(made[0])


def _about(asked: Asked, options: Options, result: Result, found: Outcome) -> dict[str, Any]:
    tally = result.tally
    return {
        "version": VERSION,
        "recording": asked.recording.name,
        "format": str(result.form),
        "against": [options.reference, options.other],
        "whole": result.whole,
        "passed": found.passed,
        "compared": found.compared,
        "matched": found.matched,
        "match_rate": found.match_rate,
        "min_match": found.required,
        "entries": tally.read,
        "unread": tally.unread,
        "troubles": [{"entry": each.where, "why": each.why} for each in tally.troubles],
        "left_out": dict(tally.left_out),
        "seconds": result.seconds,
    }


def _text(asked: Asked, options: Options, result: Result, found: Outcome) -> list[str]:
    from shadow.replay.plan import REASONS

    tally = result.tally
    lines = [f"{asked.recording.name}: {tally.read} entries ({result.form}), {options.reference} against {options.other}"]
    if tally.unread:
        lines.append(f"  {tally.unread} could not be read")
        lines += [f"    entry {each.where}: {each.why}" for each in tally.troubles]
        if tally.unread > len(tally.troubles):
            lines.append(f"    and {tally.unread - len(tally.troubles)} more")
    lines += [f"  {count} {REASONS[reason]}" for reason, count in tally.left_out.most_common()]
    for route in found.routes:
        lines += _route(route)
    if not found.compared:
        lines.append("nothing was compared")
    return lines


def _route(route: RouteOutcome) -> list[str]:
    from shadow.replay.plan import REASONS
    from shadow.words import percent

    tally, (lower, upper) = route.tally, route.interval
    rate = f"match rate {percent(route.match_rate)}"
    if route.compared:
        rate += f" (95 %: {percent(lower)} to {percent(upper)})"
    lines = [
        f"{route.name}: {'passed' if route.passed else 'not passed: ' + '; '.join(route.reasons)}",
        f"  compared    {route.compared} of {route.compared + sum(route.skipped.values())}, {rate}",
    ]
    if tally.configured:
        lines.append(f"  by rules    {tally.configured} of {route.matched} that match rest on the configuration's rules")
    if route.noisy:
        lines.append(f"  as noise    {route.noisy} of {route.matched} that match differ only as legacy differs from itself")
    lines += [f"  skipped     {count} {REASONS.get(reason, reason)}" for reason, count in route.skipped.items()]
    for failure, count in tally.failures.most_common():
        upstream, _, code = failure.partition(" ")
        lines.append(f"  unanswered  {upstream} gave no answer to {count}: {code}")
    own, different = tally.noise_pairs + tally.proof_pairs, tally.noise_different + tally.proof_different
    if own:
        lines.append(f"  noise       legacy differs from itself in {different} of {own} pairs of its own answers")
    shown = sorted(tally.signatures.items(), key=lambda item: (item[0] in route.noise, -item[1].count, item[0]))
    shown = [item for item in shown if item[1].count]
    for (kind, path), seen in shown[:MOST_LINES]:
        noise = " (noise)" if (kind, path) in route.noise else ""
        lines.append(f"  differs     {seen.count} x {kind} {path}{noise}")
        if seen.example is not None and not noise:
            lines += _example(seen.example)
    if len(shown) > MOST_LINES:
        lines.append(f"  and {len(shown) - MOST_LINES} more kinds of differences: --format json has all")
    return lines


def _example(example: Example) -> list[str]:
    entry = example.request_id.rpartition("-")[2]
    lines = [f"              entry {entry}: {example.method} {example.target}: legacy {example.legacy}, candidate {example.candidate}"]
    lines += [f"              {shown.path}: {_value(shown.legacy)} became {_value(shown.candidate)}" for shown in example.differences[:3]]
    return lines


def _value(text: str | None) -> str:
    return "nothing" if text is None else text if len(text) <= 200 else f"{text[:200]}…"
