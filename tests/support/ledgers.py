"""Three ledgers of the same requests, by request id: what clients saw, what the gateway logged, what upstreams did; and what they show.

Pure: it is handed what was written down, and says
- lost: somebody received the request whole, and its client saw neither a whole answer nor an explicit error;
- doubled: a request that changes something was executed twice, or any more often than edge.md 46 allows;
- crossed: somebody got what belongs to another: a client an answer, an upstream a body;
- untold: the gateway's log and its client disagree about how it ended.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

MOST = 3
"""A request that may be repeated is sent at most twice more (edge.md 46)."""
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Outcome(Enum):
    """What a client saw."""

    ANSWERED = "a whole answer from an upstream"
    REFUSED = "a whole answer that the gateway itself gave: an explicit error"
    CUT = "an answer that was begun and, for all to see, not ended"
    SILENCE = "not one byte, and then the connection's end"


@dataclass(frozen=True)
class Asked:
    """One request, as its client tells it."""

    id: str
    method: str
    outcome: Outcome
    status: int = 0
    said: frozenset[str] = frozenset()
    """Every id that the answer named."""
    port: int = 0
    """The client's, by which one finds out who had accepted it."""
    why: str = ""
    at: float = 0.0
    """Monotonic time of the end."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Logged:
    """One line of the gateway's access log."""

    id: str
    status: int
    """0: cut off, or the client was gone."""


@dataclass(frozen=True)
class Executed:
    """One execution, as the upstream tells it: it had the request whole."""

    id: str
    upstream: str
    method: str
    said: frozenset[str] = frozenset()
    """Every id that the request's body named."""


@dataclass
class Verdict:
    """Ids, with what is wrong with them."""

    lost: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    crossed: dict[str, str] = field(default_factory=dict)
    untold: dict[str, str] = field(default_factory=dict)
    unheard: dict[str, str] = field(default_factory=dict)
    """Not lost, since nobody knows of them but their clients: no connection could be made, or it ended before the request was read."""
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes."""

    @property
    def clean(self) -> bool:
        """Nothing is wrong. (What was not heard may be: that is for the test to say.)"""
        return not (self.lost or self.doubled or self.crossed or self.untold)


def reconcile(
    clients: Iterable[Asked], gateway: Iterable[Logged], upstreams: Iterable[Executed], *, killed: frozenset[str] = frozenset()
) -> Verdict:
    """Compares the three. `killed`: requests that were in flight in a process when it was killed. Nobody is left who could answer or log
    them, and their clients see their connections reset; executed twice or crossed they must not be either."""
    verdict = Verdict()
    logged: dict[str, list[Logged]] = defaultdict(list)
    for line in gateway:
        logged[line.id].append(line)
    executed: dict[str, list[Executed]] = defaultdict(list)
    for execution in upstreams:
        executed[execution.id].append(execution)
        if strangers := execution.said - {execution.id}:
            verdict.crossed[execution.id] = f"{execution.upstream} got it with the body of {', '.join(sorted(strangers))}"
    for asked in clients:
        verdict.counts[asked.outcome.name] += 1
        _judge_answer(verdict, asked, logged[asked.id], executed[asked.id], excused=asked.id in killed)
        _judge_executions(verdict, asked, executed[asked.id])
    return verdict


def _judge_answer(verdict: Verdict, asked: Asked, lines: list[Logged], executions: list[Executed], *, excused: bool) -> None:
    name = asked.id
    if strangers := asked.said - {name}:
        verdict.crossed[name] = f"the client was given what belongs to {', '.join(sorted(strangers))}"
    elif asked.outcome in (Outcome.ANSWERED, Outcome.REFUSED) and asked.status not in (204, 304) and not asked.said:
        verdict.crossed[name] = "the answer does not say whose it is"
    elif asked.outcome is Outcome.ANSWERED and not executions:
        verdict.crossed[name] = "the client was answered and nobody has executed it"
    if excused:
        return
    ended = [line for line in lines if line.status]
    if asked.outcome is Outcome.SILENCE:
        if executions or ended:
            verdict.lost[name] = f"{asked.why}; executed {len(executions)} times, logged {[line.status for line in lines]}"
        else:
            verdict.unheard[name] = asked.why
    elif asked.outcome is Outcome.CUT:
        if ended:
            verdict.lost[name] = f"the gateway thinks that it has answered {ended[0].status}: {asked.why}"
    elif [line.status for line in lines] != [asked.status]:
        verdict.untold[name] = f"the client saw {asked.status}, the log says {[line.status for line in lines]}"


def _judge_executions(verdict: Verdict, asked: Asked, executions: list[Executed]) -> None:
    allowed = MOST if asked.method in REPEATABLE else 1
    if len(executions) > allowed:
        verdict.doubled[asked.id] = f"{asked.method}: executed by {', '.join(execution.upstream for execution in executions)}"
    if methods := {execution.method for execution in executions} - {asked.method}:
        verdict.crossed[asked.id] = f"sent as {asked.method}, executed as {', '.join(sorted(methods))}"
