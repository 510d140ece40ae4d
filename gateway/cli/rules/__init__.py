"""`banyan rules`: what the comparison lets pass, who said so, why, and until when. One verb a file."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.rules.changing import add, end
from gateway.cli.rules.listing import show
from gateway.cli.rules.previewing import preview
from gateway.cli.rules.suggesting import accept, decline, suggest

app = App(
    name="rules",
    help="""The reviewed rules of the comparison: listed, tried out, made and ended.

    Example: banyan rules preview reviews ignore '$.generated_at'

    --help after a verb says more of it.""",
)
app.command(show, name="list", sort_key=1)
app.command(preview, sort_key=2)
app.command(add, sort_key=3)
app.command(end, sort_key=4)
app.command(suggest, sort_key=5)
app.command(accept, sort_key=6)
app.command(decline, sort_key=7)
