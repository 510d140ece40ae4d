"""What the ledger answers: in the gateway's own words, and by an answer that was given before."""

from __future__ import annotations

from typing import Final

from gateway.net.fields import without
from gateway.net.head import ResponseHead, parse_response
from gateway.policy.payments import Verdict
from gateway.policy.problems import Problem

REPLAYED: Final = b"\r\nBanyan-Replayed: true"
_NOT_KEPT: Final = frozenset((b"set-cookie", b"content-length"))
"""Fields of an answer that are not kept: the first is a credential, the second is made anew."""
_BODILESS: Final = (204, 304)

TOLD: Final = {
    Verdict.RUNNING: (Problem.KEY_RUNNING, "Wait for its answer, or ask again later with the same key."),
    Verdict.OTHER: (Problem.KEY_REUSED, "Each request needs a key of its own."),
    Verdict.NOT_KEPT: (Problem.ANSWERED_BEFORE, "Its answer is not kept any more, or was too large to keep."),
    Verdict.IN_DOUBT: (
        Problem.IN_DOUBT,
        "It was sent and not answered. It is not sent again before somebody has found out what became of it.",
    ),
    Verdict.SETTLED: (Problem.ANSWERED_BEFORE, "It was not answered, and found to have been executed."),
}
"""Of a claim that was not given: what its client is told, and what it may do."""


def kept(head: ResponseHead, body: bytes) -> bytes:
    """An answer as it is kept."""
    fields = without(head.fields, _NOT_KEPT)
    if head.status not in _BODILESS:
        fields += b"\r\nContent-Length: %d" % len(body)
    return b"".join((head.line, fields, b"\r\n\r\n", body))


def given_again(data: bytes | None) -> tuple[ResponseHead, bytes] | None:
    """The answer that `kept` has made this of, marked as what it is; None: it is none."""
    at = data.find(b"\r\n\r\n") + 4 if data is not None else 0
    if data is None or at < 4:
        return None
    head = parse_response(data[:at])
    head.fields += REPLAYED
    return head, data[at:]
