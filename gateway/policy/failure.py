"""How an upstream can fail, by what may be done about it."""

from __future__ import annotations

from enum import Enum

from gateway.policy.problems import Problem


class Failure(Enum):
    """(code, was anything sent, the problem to answer)."""

    REFUSED = ("refused", False, Problem.UNREACHABLE)
    TLS = ("tls", False, Problem.UPSTREAM_TLS)
    BREAKER_OPEN = ("breaker-open", False, Problem.BREAKER_OPEN)
    """It is not asked, for it has failed too often."""
    UNHEALTHY = ("unhealthy", False, Problem.BREAKER_OPEN)
    """It is not asked, for its health says that it is not well; only where another answers."""
    CONNECT_TIMEOUT = ("connect-timeout", False, Problem.CONNECT_TIMEOUT)
    RESET = ("reset", True, Problem.RESET)
    TIMEOUT = ("timeout", True, Problem.UPSTREAM_TIMEOUT)
    DEADLINE = ("deadline", True, Problem.UPSTREAM_TIMEOUT)
    """Its client said how long it waits, and that is over …"""
    UNSENT = ("deadline", False, Problem.UPSTREAM_TIMEOUT)
    """… before it was sent to anybody."""
    BAD_ANSWER = ("bad-answer", True, Problem.BAD_ANSWER)

    def __init__(self, code: str, sent: bool, problem: Problem) -> None:
        self.code = code
        self.sent = sent
        self.problem = problem
