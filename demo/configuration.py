"""The banyan.toml of the demo: what somebody would write for the same shop, but for what the demo needs to see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demo.unleash import RunningUnleash

ROUTES = ("reviews", "recommendations")
PRODUCT_VIEW = "product-view"
"""One route more, where data moves."""

_GATEWAY = """\
[gateway]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
workers = 2
access_log = ""
expose_decision = true    # every answer says who gave it: the demo counts by that

[upstreams]
legacy = "{legacy}"
reviews = "{reviews}"
recommendations = "{recommendations}"
{more}
[identity]
source = "introspection"  # the shop says whose session it is, so that flags can go by user
claims = ["username"]
stamp = {{ key = "{stamp_key}" }}  # and the services are told, signed; they have this as BANYAN_STAMP_KEYS

[shadow]
database = "sqlite:///banyan.sqlite3"
"""

_FILE = """
[flags]
source = "file"
path = "flags.json"
"""

_UNLEASH = """
[flags]
source = "unleash"
url = "{url}"
token = "{token}"
admin_token = "{admin_token}"
"""

_ROUTE = """
[[routes]]
name = "{name}"
match = "/api/v1/{name}/*"
methods = {methods}
candidate = "{name}"
[routes.shadow]
sample = 1.0
noise = 0.05
# Production wants thousands of comparisons. Here 300 come together in some ten seconds of traffic; were all of them to match, that would
# show 98.7 % or more at 95 % confidence; 98 % leaves no room for two that differ.
[routes.gate]
minimum = 300
match = 0.98
"""

_READ = '["GET", "HEAD"] # writing stays with the shop until its data has moved too'
_READ_AND_WRITTEN = '["GET", "HEAD", "POST"] # what is written at the service comes to the shop, and the other way round'

_VIEW = """
[[routes]]
name = "product-view"
match = "/api/v1/product-view/{id}"
candidate = "product_view"
[routes.shadow]
sample = 1.0
noise = 0.05
[routes.shadow.compare]
ignore = ["$.as_of"]
[routes.shadow.compare.freshness]    # a change that is on its way is neither a match nor a mismatch
max_age = "15s"
as_of = "Age"
[routes.shadow.compare.freshness.last_modified]
"$" = "$.as_of.product"
"$.options" = "$.as_of.stock"
"$.stock" = "$.as_of.stock"
"$.reviews" = "$.as_of.reviews"
[routes.gate]
minimum = 300
match = 0.99
"""

_CONSOLE = """
[console]
events = [{events}]
"""


def write(
    path: Path,
    *,
    legacy: str,
    reviews: str,
    recommendations: str,
    product_view: str = "",
    events: Sequence[str] = (),
    stamp_key: str,
    unleash: RunningUnleash | None,
) -> None:
    """Writes the file, for its owner's eyes: the stamps' secret is in it, and with Unleash its tokens. Where data
    moves: `product_view` is its URL, and `events` are where relays and followers say how they stand."""
    more = f'product_view = "{product_view}"\n' if product_view else ""
    text = _GATEWAY.format(legacy=legacy, reviews=reviews, recommendations=recommendations, more=more, stamp_key=stamp_key)
    if unleash is None:
        text += _FILE
    else:
        text += _UNLEASH.format(url=unleash.api_url, token=unleash.client_token, admin_token=unleash.admin_token)
    for name in ROUTES:
        text += _ROUTE.format(name=name, methods=_READ_AND_WRITTEN if product_view and name == "reviews" else _READ)
    if product_view:
        text += _VIEW
    if events:
        text += _CONSOLE.format(events=", ".join(f'"{address}"' for address in events))
    path.touch(mode=0o600)
    path.write_text(text)
