"""What an endpoint is like, beyond how often and how fast: whether it needs a login, and whether a cache could answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

type Login = Literal["yes", "some", "no", "unknown"]

USERS: Final = 0.5
REFUSED: Final = 0.01
REPEATS: Final = 0.5
NOT_MODIFIED: Final = 0.05


def login(one: Mapping[str, Any], declared: tuple[bool, str] | None = None) -> tuple[Login, str]:
    """Whether an endpoint (as gateway.endpoints.live lists it) needs one, and by what that is known. `declared`: what its declaration says.

    Most applications know their users by a cookie, of which neither a log nor the gateway's figures say anything: then it is unknown, and
    never "no".
    """
    if declared is not None:
        return ("yes" if declared[0] else "no"), declared[1]
    users = one.get("users", 0.0)
    if users >= USERS:
        return "yes", f"{users:.0%} of its requests had a user's name"
    refused = sum(one["statuses"].get(status, 0) for status in ("401", "403"))
    share = refused / one["requests"] if one["requests"] else 0.0
    if share >= REFUSED:
        return "some", f"{share:.0%} of its requests were refused (401, 403)"
    return "unknown", ""


def caching(one: Mapping[str, Any]) -> list[str]:
    """What speaks for a cache, in words; nothing of what writes."""
    if not one["safe"]:
        return []
    found = []
    if one["cacheable"] is not None:
        found.append(f"{one['cacheable']:.0%} cacheable")
    if one.get("etag"):
        found.append(f"{one['etag']:.0%} with ETag")
    revalidated = one["statuses"].get("304", 0) / one["requests"] if one["requests"] else 0.0
    if revalidated >= NOT_MODIFIED:
        found.append(f"{revalidated:.0%} not modified")
    if (repeats := one.get("repeats")) is not None and repeats >= REPEATS:
        found.append(f"{repeats:.0%} repeated")
    return found
