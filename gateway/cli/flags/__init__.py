"""`banyan flags`: the steering wheel. One verb a file; what a verb needs it imports when it runs, so that --help is quick and complete."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.flags.listing import show
from gateway.cli.flags.override import override
from gateway.cli.flags.switch import off, on, set_share
from gateway.cli.flags.sync import sync

app = App(
    name="flags",
    help="""Lists and switches the flags, in the flag file or in Unleash; and past both, in running gateways.

    Example: banyan flags off reviews

    --help after a verb says more of it.""",
)
app.command(show, name="list", sort_key=1)
app.command(on, sort_key=2)
app.command(off, sort_key=3)
app.command(set_share, name="set", sort_key=4)
app.command(override, sort_key=5)
app.command(sync, sort_key=6)
