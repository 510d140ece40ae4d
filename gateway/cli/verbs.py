"""The verbs. One a file, imported only when it is used, so that --help is quick."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError

from gateway.cli.shared import RefusalError

# Plain text: Markdown would take a third of the time that --help takes.
app = App(name="banyan", help="Moves a Django monolith to new services one API at a time.", version="0.1.0", help_format="plaintext")
app.command("gateway.cli.init:init", name="init")
app.command("gateway.cli.doctor:doctor", name="doctor")
app.command("gateway.cli.run:run", name="run")
app.command("gateway.cli.inspect:inspect", name="inspect")
app.command("gateway.cli.check:check", name="check")
app.command("gateway.cli.console:app", name="console")
app.command("gateway.cli.demo:demo", name="demo")
app.command("gateway.cli.explain:explain", name="explain")
app.command("gateway.cli.flags:app", name="flags")
app.command("gateway.cli.report:report", name="report")
app.command("gateway.cli.gate:gate", name="gate")
app.command("gateway.cli.capture:capture", name="capture")
app.command("gateway.cli.replay:replay", name="replay")
app.command("gateway.cli.guard:guard", name="guard")
app.command("gateway.cli.shadow:shadow", name="shadow")
app.command("gateway.cli.rules:app", name="rules")
app.command("gateway.cli.signatures:app", name="signatures")
app.command("gateway.cli.mark:mark", name="mark")
app.command("gateway.cli.payments:app", name="payments")
app.command("gateway.cli.domains:domains", name="domains")
app.command("gateway.cli.drill:app", name="drill")
app.command("gateway.cli.top:top", name="top")
app.command("gateway.cli.burndown:burndown", name="burndown")
app.command("gateway.cli.export:app", name="export")
app.command("gateway.cli.bench:bench", name="bench")
app.command("gateway.cli.completion:completion", name="completion")


def _drop_output() -> None:
    """What could not be written is not tried again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_gone() -> NoReturn:
    """`banyan report … | head` has read enough: nobody is there to be told anything, and the shell expects SIGPIPE's status."""
    _drop_output()
    sys.exit(128 + signal.SIGPIPE)


def _unwritable(error: OSError) -> NoReturn:
    """Nobody sees an answer that could not be written: its status is not that of an answer."""
    try:
        sys.stdout.flush()  # what it has refused it still holds, and refuses again …
        where = "standard output, or a file,"
    except OSError:
        where = "standard output"
    # … but where it holds nothing (PYTHONUNBUFFERED), whose error it was cannot be told.
    print(f"banyan: {where} cannot be written: {error.strerror}", file=sys.stderr)
    _drop_output()
    sys.exit(2)


def main() -> NoReturn:
    """Exit status 0: fine; 1: the answer is no; 2: wrong use, or a file of the user's that cannot be used."""
    try:
        # The result is returned, not exited with: what it printed has still to be written.
        result = app(exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what is wrong
    except RefusalError as refusal:
        print(f"banyan: {refusal}", file=sys.stderr)
        sys.exit(refusal.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _reader_gone()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise  # an oversight of ours, of which the whole story is wanted
        _unwritable(error)
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        _reader_gone()
    except OSError as error:
        _unwritable(error)
    sys.exit(result if isinstance(result, int) else 0)
