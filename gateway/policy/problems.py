"""Every error that the gateway itself can answer: one enum, one mapping to status.

What the gateway answers is always told apart from what an upstream answered: by `Banyan-Error`, in the log and in the metrics.
"""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """The code is what clients see in `Banyan-Error` and in the problem document's type (RFC 9457)."""

    FRAMING = "framing"
    KEY = "idempotency-key"
    UNAUTHENTICATED = "unauthenticated"
    DIRECTION = "domain-direction"
    METHOD = "method-not-allowed"
    REQUEST_TIMEOUT = "request-timeout"
    KEY_RUNNING = "key-running"
    IN_DOUBT = "in-doubt"
    ANSWERED_BEFORE = "answered-before"
    BODY_TOO_LARGE = "body-too-large"
    TARGET_TOO_LONG = "target-too-long"
    EXPECTATION = "expectation-failed"
    KEY_REUSED = "key-reused"
    RATE_LIMITED = "rate-limited"
    HEAD_TOO_LARGE = "head-too-large"
    CODING = "unknown-transfer-coding"
    UNREACHABLE = "upstream-unreachable"
    UPSTREAM_TLS = "upstream-tls"
    RESET = "upstream-reset"
    BAD_ANSWER = "upstream-bad-answer"
    OUTCOME_UNKNOWN = "outcome-unknown"
    DRAINING = "draining"
    SHED = "shed"
    CONNECTIONS = "too-many-connections"
    IDENTITY_UNAVAILABLE = "identity-unavailable"
    BREAKER_OPEN = "breaker-open"
    LEDGER_UNAVAILABLE = "ledger-unavailable"
    CONNECT_TIMEOUT = "upstream-connect-timeout"
    UPSTREAM_TIMEOUT = "upstream-timeout"
    OUTCOME_UNKNOWN_TIMEOUT = "outcome-unknown-timeout"
    VERSION = "http-version"
    LOOP = "loop"

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        return _ANSWERS[self][0]

    @property
    def summary(self) -> str:
        """The problem document's title: a short sentence for people, the same for every occurrence."""
        return _ANSWERS[self][1]


_ANSWERS: dict[Problem, tuple[int, str]] = {
    Problem.FRAMING: (400, "The request is not valid HTTP/1.1"),
    Problem.KEY: (400, "The request needs one valid Idempotency-Key"),
    Problem.UNAUTHENTICATED: (401, "Somebody has to be logged in for this"),
    Problem.DIRECTION: (403, "Calls between these domains go the other way"),
    Problem.METHOD: (405, "This method is not relayed"),
    Problem.REQUEST_TIMEOUT: (408, "The request did not arrive in time"),
    Problem.KEY_RUNNING: (409, "A request with this Idempotency-Key is under way"),
    Problem.IN_DOUBT: (409, "What came of the request with this Idempotency-Key is not known"),
    Problem.ANSWERED_BEFORE: (409, "The request with this Idempotency-Key was executed before"),
    Problem.BODY_TOO_LARGE: (413, "The request's body is too large"),
    Problem.TARGET_TOO_LONG: (414, "The request's target is too long"),
    Problem.EXPECTATION: (417, "Only 100-continue can be expected"),
    Problem.KEY_REUSED: (422, "The Idempotency-Key came with another request before"),
    Problem.RATE_LIMITED: (429, "Too many requests"),
    Problem.HEAD_TOO_LARGE: (431, "The request's header fields are too large"),
    Problem.CODING: (501, "This transfer coding is not known"),
    Problem.UNREACHABLE: (502, "The upstream cannot be reached"),
    Problem.UPSTREAM_TLS: (502, "The upstream cannot be reached securely"),
    Problem.RESET: (502, "The upstream closed the connection before it answered"),
    Problem.BAD_ANSWER: (502, "The upstream's answer is not valid HTTP"),
    Problem.OUTCOME_UNKNOWN: (502, "The upstream failed and the request's outcome is unknown"),
    Problem.SHED: (503, "More requests came than can be served"),
    Problem.DRAINING: (503, "The gateway is shutting down"),
    Problem.CONNECTIONS: (503, "Too many connections are open"),
    Problem.IDENTITY_UNAVAILABLE: (503, "Nobody can say at the moment who is calling"),
    Problem.BREAKER_OPEN: (503, "The upstream fails, and is not asked for a while"),
    Problem.LEDGER_UNAVAILABLE: (503, "It cannot be written down at the moment what is sent, so nothing is"),
    Problem.CONNECT_TIMEOUT: (504, "The upstream did not accept a connection in time"),
    Problem.UPSTREAM_TIMEOUT: (504, "The upstream did not answer in time"),
    Problem.OUTCOME_UNKNOWN_TIMEOUT: (504, "The upstream did not answer in time and the request's outcome is unknown"),
    Problem.VERSION: (505, "Only HTTP/1.1 and HTTP/1.0 are spoken here"),
    Problem.LOOP: (508, "The request came back to the gateway that sent it"),
}
