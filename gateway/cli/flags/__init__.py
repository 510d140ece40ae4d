"""`banyan flags`: the steering wheel. One verb a file, imported only when it is used."""

from __future__ import annotations

from cyclopts import App

app = App(name="flags", help="Lists and switches the flags, in the flag file or in Unleash.")
app.command("gateway.cli.flags.listing:show", name="list")
app.command("gateway.cli.flags.switch:on", name="on")
app.command("gateway.cli.flags.switch:off", name="off")
app.command("gateway.cli.flags.switch:set_share", name="set")
app.command("gateway.cli.flags.override:override", name="override")
app.command("gateway.cli.flags.sync:sync", name="sync")
