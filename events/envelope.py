"""One event: CloudEvents 1.0 (https://github.com/cloudevents/spec, structured JSON), and where in the stream it belongs.

Beside the specification's own attributes an event has four extensions:

key          the aggregate that changed, such as review-17. Events of one key keep their order, from the change to its effect.
sequence     the number of its row in the outbox. Of one key a later event has the higher one (the CloudEvents extension of this name).
origin       the store in which somebody made the change first. A change that was taken over from elsewhere keeps it: so nothing goes round.
transaction  PostgreSQL's number of the transaction; absent elsewhere. A copy knows by it what it holds already (events.position).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

PARTITIONS: Final = 4
"""As many can be relayed and consumed beside each other. Changing it moves keys: see docs/guide/events.md."""
MOST_BYTES: Final = 256 * 1024
"""Of an event's data as JSON. NATS takes messages of 1 MiB, and what it would refuse for ever must not get into an outbox."""
MOST_KEY: Final = 120
MOST_ID: Final = 255
"""Characters. PostgreSQL has no place in an index for some kilobytes, and says so in words that sound as if it were to be tried again."""
CONTENT_TYPE: Final = "application/cloudevents+json"


class EnvelopeError(ValueError):
    """These bytes are no event of ours."""


@dataclass(frozen=True, slots=True)
class Event:
    """See the module's docstring."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    key: str
    sequence: int
    origin: str
    data: dict[str, Any]
    transaction: int | None = None

    @property
    def partition(self) -> int:
        return partition(self.key)

    def encoded(self) -> bytes:
        """The message's body."""
        fields: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": moment(self.time),
            "datacontenttype": "application/json",
            "key": self.key,
            "sequence": str(self.sequence),
            "origin": self.origin,
            "data": self.data,
        }
        if self.transaction is not None:
            fields["transaction"] = str(self.transaction)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def decoded(body: bytes) -> Event:
    """What `Event.encoded` wrote. Its attributes can be stored: no database takes a lone surrogate as text, and PostgreSQL no NUL.

    Raises:
        EnvelopeError: it is something else.
    """
    try:
        fields = json.loads(body)
        if fields["specversion"] != "1.0" or not isinstance(fields["data"], dict):
            raise EnvelopeError("not a CloudEvent 1.0 with an object as its data")
        transaction = fields.get("transaction")
        identifier = _text(fields, "id")
        if len(identifier) > MOST_ID:
            raise EnvelopeError(f"an id of {len(identifier)} characters")
        return Event(
            identifier,
            _text(fields, "source"),
            _text(fields, "type"),
            _text(fields, "subject"),
            parsed(_text(fields, "time")),
            _text(fields, "key"),
            int(_text(fields, "sequence")),
            _text(fields, "origin"),
            fields["data"],
            int(transaction) if transaction is not None else None,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:  # ArithmeticError: a moment in the year 10000
        raise EnvelopeError(f"not an event: {type(error).__name__} {error}") from error


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise EnvelopeError(f"{name} is no text")
    if "\0" in value:
        raise EnvelopeError(f"{name} has a NUL")
    value.encode()  # UnicodeEncodeError: half a surrogate pair, which JSON can write
    return value


def partition(key: str) -> int:
    """CRC-32: the same in every language and for ever, which Python's own hash is not."""
    return zlib.crc32(key.encode()) % PARTITIONS


def moment(value: datetime) -> str:
    """RFC 3339, UTC, to the microsecond: as text it sorts as the instants do."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parsed(text: str) -> datetime:
    """What `moment` wrote."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
