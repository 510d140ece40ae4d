"""What becomes of a payment whose client has left: its answer is awaited for the ledger (gateway/net/payment.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.net.admitting import stream
from gateway.net.head import ResponseHead
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure

if TYPE_CHECKING:
    from gateway.net.payment import Payment


class Alone(Sink):
    """Awaits an answer for the ledger, when the client is gone."""

    __slots__ = ("_connection", "_payment")

    def __init__(self, payment: Payment, connection: UpstreamConnection) -> None:
        self._payment = payment
        self._connection = connection

    def on_interim(self, head: ResponseHead) -> None:
        """Nobody is there to be told."""

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: none was asked for."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        if not complete and stream(head):
            self._payment.give_back()
        self._payment.answered(head, data, complete)
        if complete:
            return
        if self._payment.concluded:
            self._connection.abandon()
        else:
            self._connection.hurry()  # however long it is, and however it comes: nobody but the ledger waits for its end

    def on_data(self, data: bytes, complete: bool) -> None:
        self._payment.more(data, complete)

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._payment.lost(failure)

    def on_upstream_paused(self, paused: bool) -> None:
        """The request is out as far as it came."""
