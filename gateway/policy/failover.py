"""May this request go elsewhere? The one place that decides it, so that nothing is ever executed twice by accident.

A request of which no byte was sent may go anywhere. One that was sent and not answered, or answered with 5xx, may have been executed:
only a method that changes nothing, or one whose repetition changes nothing and whose body is still at hand, goes to legacy instead
(design section 8; RFC 9110, 9.2.1 and 9.2.2).
"""

from __future__ import annotations

from typing import Final

from gateway.policy.failure import Failure
from gateway.policy.problems import Problem

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENT: Final = SAFE | {"PUT", "DELETE"}


def may_repeat(method: str, *, replayable: bool, keyed: bool = False) -> bool:
    """May a request that was sent be sent again? `replayable`: the whole body, possibly empty, is still in the replay buffer. `keyed`: it
    goes to whoever has had it already, has an Idempotency-Key, and those execute such a one once."""
    return replayable and (method in IDEMPOTENT or (keyed and method in ("POST", "PATCH")))


def may_go_elsewhere(failure: Failure, method: str, *, replayable: bool) -> bool:
    """May a request that met `failure` go to another upstream?"""
    return replayable and (not failure.sent or method in IDEMPOTENT)


def problem_of(failure: Failure, method: str) -> Problem:
    """What the client is told when nobody else may be asked. An unsafe request that was sent has an unknown outcome, and it says so."""
    if failure.sent and method not in SAFE:
        return Problem.OUTCOME_UNKNOWN_TIMEOUT if failure in (Failure.TIMEOUT, Failure.DEADLINE) else Problem.OUTCOME_UNKNOWN
    return failure.problem
