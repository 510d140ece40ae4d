"""The verbs. One a file, imported only when it is used, so that --help is quick."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError

from gateway.cli.shared import RefusalError

app = App(name="banyan", help="Moves a Django monolith to new services one API at a time.", version="0.1.0")
app.command("gateway.cli.run:run", name="run")
app.command("gateway.cli.check:check", name="check")
app.command("gateway.cli.console:console", name="console")
app.command("gateway.cli.demo:demo", name="demo")
app.command("gateway.cli.flags:app", name="flags")
app.command("gateway.cli.report:report", name="report")
app.command("gateway.cli.gate:gate", name="gate")
app.command("gateway.cli.bench:bench", name="bench")


def _reader_gone() -> NoReturn:
    """`banyan report … | head` has read enough: nobody is there to be told anything, and the shell expects SIGPIPE's status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def main() -> NoReturn:
    """Exit status 0: fine; 1: the answer is no; 2: wrong use, or a file of the user's that cannot be used."""
    try:
        result = app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what is wrong
    except RefusalError as refusal:
        print(f"banyan: {refusal}", file=sys.stderr)
        sys.exit(refusal.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _reader_gone()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _reader_gone()
    sys.exit(result if isinstance(result, int) else 0)
