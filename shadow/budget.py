"""Comparisons that may take long, in a process that is ended when they do.

A thread can't be stopped and concurrent.futures' process pool can't end a worker that hangs, so this is one child process with a pipe: an
answer within the budget, or the child is killed and the next call has a new one. Memory has a budget too, which the kernel keeps: a body
that is small on the wire and huge once parsed ends as inconclusive, and takes nothing from the machine that the edge runs on.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import resource
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from shadow.exchange import Exchange
from shadow.judge import Judge, Judgement

_log = logging.getLogger("banyan.shadow")

BUDGET_SECONDS = 2.0
BUDGET_BYTES = 768 * 1024 * 1024
"""Memory that the child may take beyond what it has when it starts. Two bodies at the limit of decoding, parsed, take about half of it."""
START_SECONDS = 30.0
"""For the child to import what it needs, on a machine that is busy."""


class BudgetedJudge:
    """One child that judges. Not for several threads at once."""

    def __init__(self, judge: Judge, seconds: float = BUDGET_SECONDS, memory: int = BUDGET_BYTES) -> None:
        """`memory`: in bytes."""
        self._judge = judge
        self._told = judge
        """The one that the child has."""
        self._seconds = seconds
        self._memory = memory
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Starts the child ahead of the first call, if it isn't running."""
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")  # never fork: this process has threads
        mine, its = context.Pipe()
        process = context.Process(target=_serve, args=(its, self._judge, self._memory), name="comparison", daemon=True)
        process.start()
        its.close()
        self._told = self._judge
        self._process, self._pipe = process, mine

    def use(self, judge: Judge) -> None:
        """From now on this one judges."""
        self._judge = judge

    def judge(self, exchange: Exchange) -> Judgement:
        """The judgement, or an inconclusive one where it took more than the budget, or ended the child."""
        self.start()
        pipe = self._pipe
        assert pipe is not None  # noqa: S101 - start() made it
        try:
            if pipe.poll(START_SECONDS):
                pipe.recv()  # "ready": the time to start is nobody's comparison
                pipe.send((None if self._told is self._judge else self._judge, exchange))
                self._told = self._judge
                if pipe.poll(self._seconds):
                    judgement: Judgement = pipe.recv()
                    return judgement
        except (EOFError, OSError) as error:
            _log.error("a comparison on route %s ended its process (%s)", exchange.route, type(error).__name__)
        self.close()
        return self._judge.inconclusive(exchange)

    def close(self) -> None:
        """Ends the child, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _serve(pipe: Connection, judge: Judge, memory: int) -> None:
    """The child: one exchange in, one judgement out, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when it is over
    os.nice(5)
    importlib.import_module("shadow.documents")  # ahead of the first comparison, whose time it is not
    _limit(memory)
    try:
        while True:
            pipe.send("ready")
            newer, exchange = pipe.recv()
            judge = newer or judge
            try:
                judgement = judge.judge(exchange)
            except (MemoryError, RecursionError):
                judgement = judge.inconclusive(exchange)
            pipe.send(judgement)
    except (EOFError, OSError):
        pass  # the parent is gone or has closed: there is nobody to tell


def _limit(memory: int) -> None:
    """Lets this process take `memory` bytes more than it has."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return  # no Linux: time alone is the budget
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + memory
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
