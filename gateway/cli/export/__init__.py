"""`banyan export`: routes handed over to a service mesh."""

from __future__ import annotations

from cyclopts import App

from gateway.cli.export.meshes import envoy, istio

app = App(
    name="export",
    help="""Says in Istio's or Envoy's words what is settled, so that single routes need no gateway any more; and of the others, why not.

    Example: banyan export envoy --route reviews > envoy.yaml

    --help after a verb says more of it.""",
)
app.command(envoy, sort_key=1)
app.command(istio, sort_key=2)
