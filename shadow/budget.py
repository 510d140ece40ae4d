"""Comparisons that may take long, in a process that is ended when they do.

A thread can't be stopped and concurrent.futures' process pool can't end a worker that hangs, so this is one child process with a pipe: an
answer within the budget, or the child is killed and the next call has a new one.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from shadow.exchange import Exchange
from shadow.judge import Judge, Judgement

_log = logging.getLogger("banyan.shadow")

BUDGET_SECONDS = 2.0
START_SECONDS = 30.0
"""For the child to import what it needs, on a machine that is busy."""


class BudgetedJudge:
    """One child that judges. Not for several threads at once."""

    def __init__(self, judge: Judge, seconds: float = BUDGET_SECONDS) -> None:
        self._judge = judge
        self._seconds = seconds
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Starts the child ahead of the first call, if it isn't running."""
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")  # never fork: this process has threads
        mine, its = context.Pipe()
        process = context.Process(target=_serve, args=(its, self._judge), name="comparison", daemon=True)
        process.start()
        its.close()
        self._process, self._pipe = process, mine

    def judge(self, exchange: Exchange) -> Judgement:
        """The judgement, or an inconclusive one where it took more than the budget, or ended the child."""
        self.start()
        pipe = self._pipe
        assert pipe is not None  # noqa: S101 - start() made it
        try:
            if pipe.poll(START_SECONDS):
                pipe.recv()  # "ready": the time to start is nobody's comparison
                pipe.send(exchange)
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


def _serve(pipe: Connection, judge: Judge) -> None:
    """The child: one exchange in, one judgement out, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when it is over
    os.nice(5)
    try:
        while True:
            pipe.send("ready")
            pipe.send(judge.judge(pipe.recv()))
    except (EOFError, OSError):
        pass  # the parent is gone or has closed: there is nobody to tell
