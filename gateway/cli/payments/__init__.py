"""`banyan payments`: what is in doubt, and how it was found out."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.payments.doubts import in_doubt
from gateway.cli.payments.settling import settle, settled

app = App(
    name="payments",
    help="""Lists the payments of which nobody knows whether they were made, and settles them, by the ledger of split routes.

    Example: banyan payments in-doubt

    --help after a verb says more of it.""",
)
app.command(in_doubt, name="in-doubt", sort_key=1)
app.command(settle, sort_key=2)
app.command(settled, sort_key=3)
