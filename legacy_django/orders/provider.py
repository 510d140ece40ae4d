"""Asks for a payment over HTTP, and says what is known of it afterwards. The difference that matters: nothing was sent, or nobody knows.

A connection for each payment: on one that was kept, a request may meet the other side just hanging up, and a payment that was perhaps
received is not to be sent again.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

CONNECT_SECONDS: Final = 2.0
MOST_BYTES: Final = 64 * 1024
"""Of an answer."""
NOTHING_SENT: Final = frozenset({"upstream-unreachable", "upstream-tls", "upstream-connect-timeout"})
"""What a gateway's Banyan-Error says, with 502 or 504, where no provider got anything of it. Others with these statuses may mean either."""


class Outcome(Enum):
    PAID = "charged"
    DECLINED = "the provider said no to this card"
    RUNNING = "the same payment is being made at this moment"
    NOT_SENT = "nobody was asked, so nobody was charged"
    REFUSED = "it was not understood: a mistake of the shop's"
    UNKNOWN = "it was sent, and no answer says what became of it"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known."""

    outcome: Outcome
    provider: str = ""
    reference: str = ""


def charge(url: str, key: str, fields: dict[str, Any], seconds: float) -> Answer:
    """One request, and no second one. An empty `key` sends no Idempotency-Key; `seconds`: how long an answer may take."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=CONNECT_SECONDS)
    try:
        try:
            connection.connect()
        except OSError:
            return Answer(Outcome.NOT_SENT)
        connection.sock.settimeout(seconds)
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        try:
            connection.request("POST", parts.path or "/", json.dumps(fields).encode(), headers)
            response = connection.getresponse()
            body = response.read(MOST_BYTES)
        except (OSError, http.client.HTTPException):
            return Answer(Outcome.UNKNOWN)
        return understood(response.status, response.getheader("Banyan-Error", ""), body)
    finally:
        connection.close()


def understood(status: int, error: str, body: bytes) -> Answer:
    """What a whole answer means. `error`: the code of a gateway that gave it itself; "" where a provider did. In doubt, nobody knows."""
    if status in (200, 201):
        return _receipt(body)
    if status == 402:
        return Answer(Outcome.DECLINED)
    if status == 409:
        return Answer(Outcome.RUNNING if error in ("", "key-running") else Outcome.UNKNOWN)
    if error and (status in (429, 503) or error in NOTHING_SENT):
        return Answer(Outcome.NOT_SENT)
    return Answer(Outcome.REFUSED if 400 <= status < 500 and status != 408 else Outcome.UNKNOWN)


def _receipt(body: bytes) -> Answer:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return Answer(Outcome.UNKNOWN)  # cut off, or not from a provider at all
    if not isinstance(told, dict) or told.get("status") != "charged":
        return Answer(Outcome.UNKNOWN)
    return Answer(Outcome.PAID, str(told.get("provider", ""))[:40], str(told.get("id", ""))[:64])
