"""`banyan drill`: incidents, run again. One drill a file; what it needs it imports when it runs, so that --help is quick and complete."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.drill.events import events
from gateway.cli.drill.provider import provider
from gateway.cli.drill.surge import surge
from gateway.cli.drill.timedeal import timedeal

app = App(
    name="drill",
    help="""Runs an incident on this machine, as it was and with what prevents it now, and says what came of it.

    Example: banyan drill surge

    Exit status 0: every bar was reached; 1: one was missed; 2: wrong use. --help after a drill says more of it.""",
)
app.command(surge, sort_key=1)
app.command(provider, sort_key=2)
app.command(timedeal, sort_key=3)
app.command(events, sort_key=4)
