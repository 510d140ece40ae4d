"""`banyan report`: what the comparison found about a route, as text, JSON, HTML or JUnit's XML."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from gateway.cli.comparison import moment, opened, percent
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from shadow.report import RouteReport
    from shadow.reporting.document import Document

type Form = Literal["text", "json", "html", "junit"]


def report(
    route: str,
    *,
    since: str = "",
    form: Annotated[Form, Parameter(name="--format")] = "text",
    output: Path | None = None,
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Who answered, what was compared, how much of it matched, and what differs.

    Example: banyan report reviews --since 24h --format html --output reviews.html

    Parameters
    ----------
    route
        Its name.
    since
        How far back, such as 15m, 2h or 7d; by default all that is kept, and the gate by its own window.
    form
        text; json, for machines; html, one file for a browser or for paper; junit, for CI tools.
    output
        A file to write it to, readable by you alone; what was there is replaced. By default standard output.
    config
        The configuration.
    as_json
        As --format json.
    """
    if as_json and form not in ("text", "json"):
        raise RefusalError(f"--json means --format json: it does not go with --format {form}")
    start = moment(since)
    with opened(config, route) as configured:
        from shadow.reporting.document import collect

        document = collect(route, configured.match, configured.candidate, configured.gate, start, time.time())
    text = _rendered(document, "json" if as_json else form)
    if output is None and form == "text" and not as_json:
        sys.stdout.write(text)
    elif output is None:
        sys.stdout.buffer.write(text.encode())  # as the file says of itself, whatever the terminal's encoding is
    else:
        write(output, text)
    return 0


def _rendered(document: Document, form: Form) -> str:
    if form == "json":
        from shadow.reporting.document import plain

        return json.dumps(plain(document), indent=2) + "\n"
    if form == "html":
        from shadow.reporting.page import page

        return page(document)
    if form == "junit":
        from shadow.reporting.junit import junit

        return junit(document)
    return "\n".join(_text(document)) + "\n"


def write(path: Path, text: str) -> None:
    """All of it or nothing, for its owner alone: it shows what people's answers held.

    Raises:
        RefusalError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, or a device
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:  # mode 0600
            try:
                file.write(text)
                file.close()
                os.replace(file.name, path)  # noqa: PTH105 - of the two, the one that says what it does
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RefusalError(f"--output {path}: cannot be written ({error.strerror})") from error


def _text(document: Document) -> list[str]:
    from flags.admin.states import plain
    from gateway.cli.gate import spanned
    from shadow.reconcile import in_words, reconcile

    counted, gate = document.counted, document.gate
    lower, upper = counted.interval
    answered = f"legacy {counted.legacy} ({counted.fallback} as fallback), candidate {counted.candidate}"
    if counted.gateway:
        answered += f", the gateway itself {counted.gateway} (errors)"
    lines = [
        f"{counted.route}: {counted.mode}",
        f"  answered    {counted.served}: {answered}",
        *([f"  unfinished  {counted.unfinished}: broken off, or the client left"] if counted.unfinished else []),
        f"  compared    {counted.compared} of {counted.eligible}, coverage {percent(counted.coverage)}",
    ]
    for what, reasons in (("skipped", counted.skipped), ("dropped", counted.dropped)):
        lines += [f"  {what:11} {count} {reason}" for reason, count in reasons.items()]
    lines.append(f"  reconciled  {in_words(reconcile(counted))}")
    rate = percent(counted.match_rate)
    lines.append(f"  match rate  {rate}" + (f" (95 %: {percent(lower)} to {percent(upper)})" if counted.compared else ""))
    lines += _sides(counted)
    if counted.matched_by_rules or counted.matched_by_configuration:
        by = f"{counted.matched_by_configuration} by the configuration's rules, {counted.matched_by_rules} by reviewed ones"
        lines.append(f"  matched     {counted.matched}: {counted.matched_outright} outright, {by} ({counted.rules} in force)")
    within = f" ({spanned(document.gate_since, document.window)})" if not document.since else ""
    lines.append(
        f"  gate        {'passed' if gate.passed else 'not passed'}{within}{'' if gate.passed else ': ' + '; '.join(gate.reasons)}"
    )
    lines += [f"  {line.count:>9} x {line.kind} {line.path} ({line.state})" for line in document.signatures]
    return list(map(plain, lines))


def _sides(counted: RouteReport) -> list[str]:
    """Both sides' p95 and errors, of what they served or of what they answered beside: whichever there is more of."""
    from shadow.latency import best

    lines = []
    for side in ("legacy", "candidate"):
        figures, beside = best(counted.sides, side)
        if figures.asked:
            slow = f"p95 {1000 * figures.p95:.1f} ms" if figures.p95 is not None else "no answer"
            where = " asked beside" if beside else ""
            lines.append(f"  {side:11} {slow}, errors {percent(figures.error_rate)} ({figures.errors} of {figures.asked}{where})")
    return lines
