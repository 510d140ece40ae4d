"""`banyan console`, and `banyan console users`: who may log in there."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.console.serving import console
from gateway.cli.console.users import app as users

app = App(name="console")
app.default(console)
app.command(users, name="users")
