"""Waits for a gate: asks again and again, and tells on standard error what is missing and for how long."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.comparison import judged, opened
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from gateway.settings import Route
    from shadow.gate import GateResult
    from shadow.report import RouteReport

EVERY_SECONDS: Final = 2.0
LATELY_SECONDS: Final = 120.0
"""By how much was compared in this time it is worked out how long the rest takes."""
QUIET_SECONDS: Final = 30.0
"""Between two lines of a progress that nobody watches, as in a pipeline's log."""


def passed(config: Path, name: str, since: str, seconds: float) -> tuple[Route, RouteReport, GateResult]:
    """The gate as it was when it was passed, or `seconds` later when it was not. Between two looks the file and the database may change.

    Raises:
        RefusalError: it could not be asked at first, or not at the end of the time; what fails in between is told, and asked again.
    """
    from shadow import store

    progress = Progress()
    began = time.monotonic()
    wide = since
    try:
        last: RefusalError | None = None
        answered = False
        while True:
            waited = time.monotonic() - began
            if since:
                wide = f"{_span(since) + waited:.3f}s"  # what is asked for began at one moment, and does not move on
            try:
                with opened(config, name) as route:
                    store.renew_connection()  # a database that was away, or another file in its place
                    counted, result = judged(route, wide)
                    rate = _rate(name)
            except RefusalError as refusal:
                if not answered:
                    raise
                last = refusal
                progress.tell(f"{name}: {refusal}; asked again")
            else:
                answered, last = True, None
                if result.passed or waited >= seconds:
                    return route, counted, result
                ahead = outlook(result, rate, None if since else route.gate.window)
                progress.tell(f"{name}: {ahead}; waiting for {_words(seconds - waited)} more")
            if waited >= seconds and last is not None:
                raise last
            time.sleep(min(EVERY_SECONDS, max(0.05, seconds - waited)))
    finally:
        progress.end()


def outlook(result: GateResult, rate: float, window: float | None) -> str:
    """What is missing, and how long that takes at `rate` comparisons a second. `window`: seconds after which a comparison is forgotten."""
    from shadow.gate import MOST_STALE

    parts = [f"{result.compared} compared, {result.matched} of them match"]
    missing = result.missing
    if missing is None:
        parts.append("no number of comparisons would do")
    elif missing:
        text = f"{missing} more are needed, all of them equal; {_per_minute(rate)}"
        if rate and window is not None and rate * window < result.compared + missing:
            text += f", which is never enough within the {_words(window)} that count"
        elif rate:
            text += f", so about {_words(missing / rate)}"
        parts.append(text)
    if result.coverage is not None and result.coverage < result.coverage_required:
        parts.append(f"{result.coverage:.2%} of what was to be compared was, {result.coverage_required:.2%} is needed")
    if result.stale > MOST_STALE:
        parts.append(f"{result.stale:.2%} of the answers were stale, {MOST_STALE:.2%} may be")
    if result.open:
        parts.append(f"{result.open} signature{' is' if result.open == 1 else 's are'} open: somebody has to look at that")
    return "; ".join(parts)


class Progress:
    """One line that is written anew where somebody watches; else one now and then."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._next = 0.0
        self._open = False

    def tell(self, text: str) -> None:
        from flags.admin.states import plain

        text = plain(text)
        if self._watched:
            self._open = True  # first: Ctrl-C may come as soon as the text can be read, while `print` has not returned
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + QUIET_SECONDS
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves the cursor on a line of its own, also after Ctrl-C."""
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False


def _rate(name: str) -> float:
    """Comparisons a second, lately."""
    from shadow import report

    return report.summary(name, time.time() - LATELY_SECONDS).compared / LATELY_SECONDS


def _span(since: str) -> float:
    from gateway.units import seconds

    try:
        return seconds(since)
    except ValueError as error:
        raise RefusalError(f"--since: {error}") from error


def _per_minute(rate: float) -> str:
    return f"{60 * rate:,.{0 if rate > 0.2 else 1}f} a minute now" if rate else "nothing was compared in the last two minutes"


def _words(seconds: float) -> str:
    from gateway.cli.flags.shown import duration

    return duration(seconds)
