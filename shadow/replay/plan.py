"""Which recorded request is asked again, and how it looks; or why it is not. Pure: no socket, no clock."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from flags.snapshot import Context
from gateway import build
from gateway.net.head import HeadError, RequestHead, parse_request
from gateway.policy.decision import AMBIGUOUS, MIRRORED, Claim, RouteRules
from gateway.settings import Config
from recorded.entry import Entry, Fields

RECORDED: Final = "recorded"
"""The answer in the recording, as a side."""
MAX_FIELDS: Final = 500
_CREDENTIALS: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_FRAMING: Final = frozenset((b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"transfer-encoding", b"upgrade"))
_REDACTED: Final = re.compile(rb"redacted(?::|%3[aA])(?:(?:card|token)(?::|%3[aA]))?[0-9a-f]{16}")
"""What redaction leaves in the place of a value (shadow/redact.py), also within a query."""
_WITH_BODY: Final = frozenset(("PATCH", "POST", "PUT"))

# Why a request is left out.
UNROUTED: Final = "unrouted"
AMBIGUOUS_PATH: Final = "ambiguous-path"
OTHER_ROUTE: Final = "other-route"
SPLIT: Final = "split"
METHOD: Final = "method"
UNSAFE: Final = "unsafe"
NO_SANDBOX: Final = "no_sandbox"
UPGRADE: Final = "upgrade"
NO_BODY: Final = "body_not_recorded"
REDACTED: Final = "redacted"
INVALID: Final = "invalid"
NOT_RECORDED: Final = "not_recorded"
REASONS: Final = {
    UNROUTED: "belong to no route",
    AMBIGUOUS_PATH: "have a path that would belong to another route once it were decoded: no candidate ever gets such a path",
    OTHER_ROUTE: "belong to a route that was not asked for",
    SPLIT: "belong to a route with several providers, which has no candidate",
    METHOD: "have a method that [routes.shadow] methods does not name",
    UNSAFE: "may change something: --unsafe replays them, to a sandbox",
    NO_SANDBOX: "may change something, and who would be asked is no sandbox",
    UPGRADE: "ask for another protocol",
    NO_BODY: "have a body that the recording did not keep",
    REDACTED: "hold values that redaction has taken out",
    INVALID: "are none that the gateway would let through",
    NOT_RECORDED: "have no whole answer in the recording, or a redacted one",
}
"""In words, after a number of requests."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that is asked again."""

    entry: Entry
    route: str
    rules: RouteRules
    head: RequestHead
    body: bytes

    @property
    def repeatable(self) -> bool:
        """It changes nothing, so it may be sent once more."""
        return self.head.method in MIRRORED


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A request that is not. `route` is '' where it belongs to none that is compared."""

    route: str
    reason: str


class _NoFlags:
    """Who would have answered is not asked: both sides are."""

    revision = ""

    def enabled(self, flag: str, context: Context) -> bool:
        return False

    def both(self, serve: str, shadow: str, context: Context) -> int:
        return 0

    def overridden(self, flag: str) -> bool:
        return False

    def by_session(self, flag: str) -> bool:
        return False

    def weights(self, flag: str) -> None:
        return None

    def chose(self, flag: str, variant: str) -> None:
        """Nobody was given anything."""


class Planner:
    """`routes`: those that are wanted; empty: all with a candidate. `reference`, `other`: RECORDED, legacy, or candidate."""

    def __init__(
        self,
        config: Config,
        *,
        reference: str,
        other: str,
        routes: Collection[str] = (),
        unsafe: bool = False,
        credentials: bool = False,
        host: str = "",
    ) -> None:
        """`unsafe`: what may change something is replayed too, to a sandbox. `credentials`: those in the recording are sent along. `host`:
        in the place of every Host field; by default the recorded one stays, and where there is none legacy's address is taken."""
        self._policy = build.policy(config, _NoFlags())
        self._rules = {route.name: route for route in self._policy.routes}
        self._sandboxes = {route.name: (route.shadow.sandbox, route.shadow.sandbox_legacy) for route in config.routes}
        self._routes = frozenset(routes)
        self._sides = (reference, other)
        self._recorded = RECORDED in (reference, other)
        self._unsafe = unsafe
        self._dropped = _FRAMING if credentials else _FRAMING | _CREDENTIALS
        name, port, _ = config.upstreams["legacy"].places[0]
        self._host = host.encode()
        self._default_host = (f"[{name}]" if ":" in name else name).encode() + (b"" if port in (80, 443) else f":{port}".encode())

    def plan(self, entry: Entry) -> Wanted | LeftOut:
        """What becomes of it."""
        found = self._policy.find(entry.method, entry.target.encode())
        if not isinstance(found, Claim):
            return LeftOut("", AMBIGUOUS_PATH if found is AMBIGUOUS else UNROUTED)
        rules = self._rules[found.route]
        if not isinstance(rules, RouteRules):
            return LeftOut("", SPLIT)
        route = rules.name
        if self._routes and route not in self._routes:
            return LeftOut("", OTHER_ROUTE)
        reason = self._barred(entry, rules)
        if reason:
            return LeftOut(route, reason)
        body = entry.body or b""
        try:
            head = parse_request(self._raw(entry, body), max_fields=MAX_FIELDS)
        except HeadError:
            return LeftOut(route, INVALID)
        return Wanted(entry, route, rules, head, body)

    def _barred(self, entry: Entry, rules: RouteRules) -> str:
        method = entry.method
        if method not in MIRRORED:
            if not self._unsafe:
                return UNSAFE
            if method not in rules.shadow.methods:
                return METHOD
            candidate, legacy = self._sandboxes[rules.name]
            if ("candidate" in self._sides and not candidate) or ("legacy" in self._sides and not legacy):
                return NO_SANDBOX
            if entry.body is None:
                return NO_BODY
        elif method not in rules.shadow.methods:
            return METHOD
        if any(name.lower() == b"upgrade" for name, _ in entry.fields) or entry.status == 101:
            return UPGRADE
        if _REDACTED.search(entry.target.encode()) or (entry.body and _REDACTED.search(entry.body)):
            return REDACTED
        if self._recorded and not _whole(entry):
            return NOT_RECORDED
        return ""

    def _raw(self, entry: Entry, body: bytes) -> bytes:
        host = self._host or next((value for name, value in entry.fields if name.lower() == b"host"), b"") or self._default_host
        parts = [entry.method.encode(), b" ", entry.target.encode(), b" HTTP/1.1\r\nHost: ", host, b"\r\n"]
        for name, value in entry.fields:
            if name.lower() not in self._dropped and not _REDACTED.search(value):
                parts += (name, b": ", value, b"\r\n")
        if body or entry.method in _WITH_BODY:
            parts.append(b"Content-Length: %d\r\n" % len(body))
        parts.append(b"\r\n")
        return b"".join(parts)


def _whole(entry: Entry) -> bool:
    """Whether its recorded answer is one to compare with."""
    if entry.status is None or _REDACTED.search(lines_of(entry.answer_fields)):
        return False
    # An access log has the status alone: nothing that stands for an answer whose fields are all of it.
    bodiless = bool(entry.answer_fields) and (entry.method == "HEAD" or entry.status in (204, 304))
    return bodiless or (entry.answer_body is not None and not _REDACTED.search(entry.answer_body))


def lines_of(fields: Fields) -> bytes:
    """Each as a line ended by CRLF."""
    return b"".join([name + b": " + value + b"\r\n" for name, value in fields])
