"""Who changed a flag in Unleash: its events, matched with a change that was seen from outside.

Everything but `EventLog` is pure. What is seen from outside is a state before and a state after, between two looks at Unleash; every event
that touches the flag and lies between these looks had a part in it, and all of their authors are named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import orjson

from flags import names
from flags.admin import bounded
from flags.source import check_token

PUBLISHED_SECONDS: Final = 2.0
"""Unleash lets a change out up to a second after its event (see flags.unleash); a second more for two clocks."""
AHEAD_SECONDS: Final = 1.0
"""By how much the clock of Unleash's database may be ahead of ours."""
MAX_FLAGS: Final = 20
"""Asked about at once."""
MAX_EVENTS: Final = 200
"""Of one answer, the newest."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one answer."""

_SILENT: Final = frozenset(
    {
        "feature-favorited",
        "feature-unfavorited",
        "feature-link-added",
        "feature-link-updated",
        "feature-link-removed",
        "feature-tagged",
        "feature-untagged",
        "feature-tag-import",
        "feature-completed",
        "feature-uncompleted",
        "feature-potentially-stale-on",
    }
)
"""Events that change nothing of what clients are told of a flag."""
_TOKEN: Final = -42
"""Unleash's number for whoever came with an admin token. Its name is the token's, which may be a person's, too."""
_OUTCOME: Final = {"feature-environment-enabled": True, "feature-environment-disabled": False}
"""Whether the flag is on after such an event."""


class EventsError(Exception):
    """Unleash's events could not be read. `kind` is the same for what has the same cause."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody did to a flag."""

    number: int
    """Unleash's id: a later event has a higher one."""
    at: float
    """Unix seconds."""
    kind: str
    """Unleash's type, such as feature-environment-enabled."""
    flag: str
    environment: str
    """"" where it concerns all of them."""
    by: str


def parse(body: bytes) -> list[Event]:
    """The events of a search's answer that concern a flag, oldest first.

    Raises:
        EventsError: it is not what Unleash answers.
    """
    try:
        found = [_event(item) for item in orjson.loads(body)["events"] if item.get("featureName")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EventsError("shape", f"Unleash's events are not in the expected form ({type(error).__name__})") from None
    return sorted(found, key=lambda event: event.number)


def _event(item: dict[str, Any]) -> Event:
    by = str(item.get("createdBy") or "")
    return Event(
        number=int(item["id"]),
        at=datetime.fromisoformat(item["createdAt"]).timestamp(),
        kind=str(item["type"]),
        flag=str(item["featureName"]),
        environment=str(item.get("environment") or ""),
        by=f"{by} (a token)" if by and item.get("createdByUserId") == _TOKEN else by,
    )


def behind(
    events: Iterable[Event],
    *,
    flag: str,
    environment: str,
    before: float | None,
    at: float,
    enabled: bool | None,
    taken: Collection[int] = (),
) -> list[Event]:
    """The events that made a change which was seen at `at`, oldest first.

    `before` is when the state before it was last confirmed, where that is known (both Unix seconds); `enabled` says whether the flag was on
    after it (None: it is gone). `taken` are the numbers of events that made an earlier change.
    """
    since = (at if before is None else before) - PUBLISHED_SECONDS
    found = [
        event
        for event in events
        if event.flag == flag
        and event.environment in ("", environment)
        and event.kind not in _SILENT
        and not event.kind.startswith("change-")  # a change request: what comes of it has its own events
        and since < event.at <= at + AHEAD_SECONDS
    ]
    while found and enabled is not None and _OUTCOME.get(found[-1].kind, enabled) != enabled:
        found.pop()  # it was not in what was seen: it came later
    return [event for event in found if event.number not in taken] or found


def authors(events: Iterable[Event]) -> str:
    """Their names, each once, in the order of their first event; "" where no event has one."""
    return ", ".join(dict.fromkeys(event.by for event in events if event.by))


class EventLog:
    """Asks Unleash's Admin API. Synchronous; close it."""

    def __init__(self, url: str, admin_token: str, *, timeout: float = 2.0) -> None:
        """`url` is the API's base, as in [flags] url. `timeout` in seconds, for each wait.

        Raises:
            FlagSourceError: the token can't be one.
        """
        check_token(admin_token, "flags.admin_token")
        self._url = url.rstrip("/")
        self._client = bounded.client(self._url, admin_token, timeout=timeout, largest=MAX_BYTES)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def of(self, flags: Sequence[str], since: float) -> list[Event]:
        """The newest MAX_EVENTS events of up to MAX_FLAGS flags, about from the moment `since` (Unix seconds), oldest first.

        Raises:
            EventsError: Unleash can't be asked, or refuses.
        """
        asked = [name for name in flags if names.possible(name)][:MAX_FLAGS]
        if not asked:
            return []
        # Unleash takes days, in its database's time zone: a day more covers every zone.
        day = (datetime.fromtimestamp(since, UTC) - timedelta(days=1)).date().isoformat()
        query = {"feature": f"IS_ANY_OF:{','.join(asked)}", "from": f"IS:{day}", "limit": str(MAX_EVENTS)}
        try:
            response = self._client.get("/admin/search/events", params=query)
        except bounded.LargeError as error:
            raise EventsError("large", f"Unleash at {self._url}, asked for its events, {error}") from None
        except httpx.HTTPError as error:
            raise EventsError("away", f"Unleash at {self._url}, asked for its events, {bounded.why(error)}") from None
        status = response.status_code
        if status != 200:
            hint = {401: ": flags.admin_token is not valid there", 403: ": flags.admin_token may not read them"}.get(status, "")
            raise EventsError(f"status {status}", f"Unleash at {self._url} answered {status} when asked for its events{hint}")
        return parse(response.content)
