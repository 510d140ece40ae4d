"""What the console asks of the running gateway's admin port, and the words in which it is told why there is no answer."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import quote

import httpx
import msgspec

from flags.admin import bounded
from gateway.config import parse_address
from gateway.endpoints.live import MinuteFigures
from shadow.flag_changes import Change

TIMEOUT: Final = 1.0
"""Seconds for each wait. The port is on this machine, and nobody waits for the answer but the thread that asks."""
CHANGE_TIMEOUT: Final = 5.0
"""Seconds for each wait for a change: the gateway answers once every worker has taken it, which it waits 2 s for."""
WHOLE_TIMEOUT: Final = 5.0
"""Seconds for a whole answer: a thousand changes of large flags are some megabytes."""
MAX_BYTES: Final = 64 * 1024 * 1024


class GatewayError(Exception):
    """There is no answer. The message says why; `kind` is the same for what has the same cause."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Override(msgspec.Struct, frozen=True):
    """What a person decided over a flag's head, for some time. Moments are Unix seconds."""

    enabled: bool
    until: float
    by: str = ""
    why: str = ""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a flag that a route reads."""

    flag: str
    problem: str


class FlagsNow(msgspec.Struct, frozen=True):
    """GET /flags."""

    source: str
    revision: str
    flags: dict[str, bool]
    error: str = ""
    staleness_seconds: float | None = None
    """Since the source last confirmed this state; None: never."""
    definitions: dict[str, dict[str, Any]] = {}
    """What those that routes read are, in the words of Unleash's client API."""
    overrides: dict[str, Override] = {}
    problems: list[Problem] = []
    workers: dict[str, bool] = {}
    """Worker → does it decide by this revision?"""


class Changes(msgspec.Struct, frozen=True):
    """GET /flags/changes."""

    gateway: str
    changes: list[Change]


class Minutes(msgspec.Struct, frozen=True):
    """GET /top/minutes."""

    gateway: str
    minutes: list[MinuteFigures]


class Overridden(msgspec.Struct, frozen=True):
    """PUT and DELETE /flags/overrides/FLAG."""

    flag: str
    workers: dict[str, bool]
    """Worker → does it decide by it?"""
    enabled: bool | None = None
    until: float | None = None
    warning: str = ""


class LastReload(msgspec.Struct, frozen=True):
    """The newest of GET /config."""

    why: str
    at: float
    ok: bool
    error: str = ""


class ConfigNow(msgspec.Struct, frozen=True):
    """GET /config, as far as the timeline needs it."""

    number: int
    loaded_at: float
    reloads: dict[str, int]
    last_reload: LastReload | None = None


class RouteNow(msgspec.Struct, frozen=True):
    """One of GET /routes."""

    name: str
    answered: dict[str, int]
    """Side and status, such as "gateway 503" → how often."""


class RoutesNow(msgspec.Struct, frozen=True):
    """GET /routes."""

    routes: list[RouteNow]


class _Problem(msgspec.Struct, frozen=True):
    """What is answered with a status of 400 and above (RFC 9457)."""

    type: str = ""
    title: str = ""
    detail: str = ""


# Made here, by the one thread that imports this. msgspec looks into a type the first time that it is to read it, and where two threads are
# at that at once, one may find it half done: the process ends with SIGSEGV (msgspec 0.22; seen once in a console that began).
_FLAGS: Final = msgspec.json.Decoder(FlagsNow)
_CHANGES: Final = msgspec.json.Decoder(Changes)
_MINUTES: Final = msgspec.json.Decoder(Minutes)
_CONFIG: Final = msgspec.json.Decoder(ConfigNow)
_ROUTES: Final = msgspec.json.Decoder(RoutesNow)
_OVERRIDDEN: Final = msgspec.json.Decoder(Overridden)
_PROBLEM: Final = msgspec.json.Decoder(_Problem)


class AdminPort:
    """A synchronous client; close it. `address` is as in [gateway] admin; `timeout` are seconds for each wait."""

    largest: ClassVar[int] = MAX_BYTES
    """Of an answer."""

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        place = parse_address(address)
        self.address = address
        self.unknown = not isinstance(place, str) and place[1] == 0
        """The gateway took a free port, and only says there which it was."""
        unix = place if isinstance(place, str) else None
        host = "localhost" if isinstance(place, str) else f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
        self._timeout = timeout
        whole = max(WHOLE_TIMEOUT, 2 * timeout)
        self._client = bounded.client(f"http://{host}", timeout=timeout, whole=whole, largest=self.largest, uds=unix)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def flags(self) -> FlagsNow:
        """Every flag's state now.

        Raises:
            GatewayError: there is no answer, or none that can be read.
        """
        return self._get("/flags", _FLAGS)

    def changes(self, after: int) -> Changes:
        """What changed, from number `after` + 1 on, as far as the gateway has kept it.

        Raises:
            GatewayError: as `flags`.
        """
        return self._get(f"/flags/changes?after={after}", _CHANGES)

    def minutes(self, after: int) -> Minutes:
        """What endpoints were asked for in the minutes that begin after `after` (Unix seconds), and in the one that is under way.

        Raises:
            GatewayError: as `flags`.
        """
        return self._get(f"/top/minutes?after={after}", _MINUTES)

    def config(self) -> ConfigNow:
        """Which configuration is in force, and how it came to be.

        Raises:
            GatewayError: as `flags`.
        """
        return self._get("/config", _CONFIG)

    def routes(self) -> RoutesNow:
        """What became of each route's requests.

        Raises:
            GatewayError: as `flags`.
        """
        return self._get("/routes", _ROUTES)

    def override(self, flag: str, *, enabled: bool, seconds: float, by: str, why: str) -> Overridden:
        """Turns a flag on or off for everybody, for a while.

        Raises:
            GatewayError: it did not; or, of kind "away" or "large", it is not known whether it did.
        """
        body = {"enabled": enabled, "seconds": seconds, "by": by, "why": why}
        return self._ask("PUT", f"/flags/overrides/{quote(flag, safe='')}", _OVERRIDDEN, body)

    def end_override(self, flag: str, *, by: str, why: str) -> Overridden:
        """The flag decides again.

        Raises:
            GatewayError: as `override`.
        """
        return self._ask("DELETE", f"/flags/overrides/{quote(flag, safe='')}", _OVERRIDDEN, {"by": by, "why": why})

    def refresh(self) -> FlagsNow:
        """Has the flags' source asked now; then as `flags`.

        Raises:
            GatewayError: as `flags`; or the source did not answer.
        """
        return self._ask("POST", "/flags/refresh", _FLAGS)

    def _get[Answer](self, path: str, reader: msgspec.json.Decoder[Answer]) -> Answer:
        return self._ask("GET", path, reader)

    def _ask[Answer](self, method: str, path: str, reader: msgspec.json.Decoder[Answer], body: object = None) -> Answer:
        if self.unknown:
            raise GatewayError(
                "unknown", "its port is not known here ([gateway] admin leaves it to the gateway): say it in BANYAN_CONSOLE_ADMIN"
            )
        place = path.partition("?")[0]
        try:
            response = self._client.request(method, path, content=None if body is None else msgspec.json.encode(body))
        except (bounded.LargeError, bounded.SlowError):
            raise GatewayError("large", f"its answer to {place} is too large or too slow") from None
        except httpx.TimeoutException:
            raise GatewayError("away", f"it did not answer within {self._timeout:g} s") from None
        except httpx.ConnectError as error:
            raise GatewayError("closed", str(error)) from None
        except httpx.HTTPError as error:
            raise GatewayError("away", str(error) or type(error).__name__) from None
        if response.status_code != 200:
            raise GatewayError(f"status {response.status_code}", f"it answered {response.status_code} to {place}{_why(response.content)}")
        try:
            found = reader.decode(response.content)
        except msgspec.MsgspecError as error:
            raise GatewayError("shape", f"its answer to {place} is not what this console reads: {error}") from None
        return found


def _why(content: bytes) -> str:
    """A problem document's words, after a colon; "" where there are none."""
    try:
        problem = _PROBLEM.decode(content)
    except msgspec.MsgspecError:
        return ""
    said = " ".join(part for part in (problem.title, problem.detail) if part)
    return f": {said[:500]}" if said else ""
