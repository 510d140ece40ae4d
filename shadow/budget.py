"""Comparisons that may take long, in a process that is ended when they do.

A thread can't be stopped and concurrent.futures' process pool can't end a worker that hangs, so this is one child process with a pipe: an
answer within the budget, or the child is killed and the next call has a new one. Several of them are shadow/pool.py's. Memory has a budget
too, which the kernel keeps: a body that is small on the wire and huge once parsed ends as inconclusive, and takes nothing from the machine
that the edge runs on.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

_log = logging.getLogger("banyan.shadow")

BUDGET_SECONDS = 2.0
"""Of CPU time. What the child did not get to run, on a machine that is busy, is nobody's difference."""
PATIENCE = 10.0
"""How many times that may pass on the clock."""
STEP_SECONDS = 0.05
"""Between two looks at what the child has used."""
BUDGET_BYTES = 768 * 1024 * 1024
"""Memory that the child may take beyond what it has when it starts. Two bodies at the limit of decoding, parsed, take about half of it."""
START_SECONDS = 30.0
"""For the child to import what it needs, on a machine that is busy."""


class Routed(Protocol):
    """An exchange, in whatever form."""

    @property
    def route(self) -> str: ...


class Judging[Given: Routed, Found](Protocol):
    """What may take long: shadow.judge.Judge, or one of its halves (shadow/sealing.py)."""

    def judge(self, given: Given, /) -> Found | None: ...
    def inconclusive(self, given: Given, /) -> Found: ...


_processes = threading.Lock()
"""Held while a child is started, looked at or ended: multiprocessing looks after all of them whenever it starts one, and a child that two
threads wait for at once is one that neither sees end."""
END_SECONDS = 5.0
"""For a child that was killed to be gone. One that hangs in the kernel is left to it."""


class NotStartedError(RuntimeError):
    """There is no child: the machine cannot start one. That says nothing about the exchange."""


class BudgetedJudge[Given: Routed, Found]:
    """One child that judges. Not for several threads at once."""

    def __init__(self, judge: Judging[Given, Found], seconds: float = BUDGET_SECONDS, memory: int = BUDGET_BYTES) -> None:
        """`memory`: in bytes."""
        self._judge = judge
        self._told = judge
        """The one that the child has."""
        self._seconds = seconds
        self._memory = memory
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._killed = False
        """By `kill`: that it ended is no fault of what it judged."""

    def start(self) -> None:
        """Starts the child ahead of the first call, if it isn't running."""
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")  # never fork: this process has threads
        mine, its = context.Pipe()
        process = context.Process(target=_serve, args=(its, self._judge, self._memory), name="comparison", daemon=True)
        try:
            with _processes:
                process.start()
        except BaseException:
            mine.close()
            raise
        finally:
            its.close()
        self._told = self._judge
        self._process, self._pipe, self._killed = process, mine, False

    def use(self, judge: Judging[Given, Found]) -> None:
        """From now on this one judges."""
        self._judge = judge

    def judge(self, exchange: Given) -> Found:
        """The judgement, or an inconclusive one where it took more than the budget, or ended the child.

        Raises:
            NotStartedError: there is no child to ask.
        """
        pipe, pid = self._ready()
        try:
            pipe.send((None if self._told is self._judge else self._judge, exchange))
            self._told = self._judge
            if self._in_time(pipe, pid):
                judgement: Found = pipe.recv()
                return judgement
        except (EOFError, OSError) as error:
            if not self._killed:
                _log.error("a comparison on route %s ended its process (%s)", exchange.route, type(error).__name__)
        self.close()
        return self._judge.inconclusive(exchange)

    def _ready(self) -> tuple[Connection, int]:
        """The pipe to a child that waits for an exchange, and its process id. One that died while it waited is replaced: so that its end is
        not the next comparison's."""
        for _ in range(2):
            self.start()
            process, pipe = self._process, self._pipe
            assert process is not None  # noqa: S101 - start() made both
            assert pipe is not None  # noqa: S101
            try:
                if pipe.poll(START_SECONDS):
                    pipe.recv()  # "ready": the time to start is nobody's comparison
                    with _processes:
                        alive = process.is_alive()
                    if alive and process.pid is not None:
                        return pipe, process.pid
            except (EOFError, OSError):
                pass  # it has ended; told by the error below, if the next one does too
            self.close()
        raise NotStartedError("the process that compares does not start")

    def _in_time(self, pipe: Connection, pid: int) -> bool:
        """Waits for the answer. False: the budget is used up."""
        began, used = time.monotonic(), _cpu_seconds(pid)
        while not pipe.poll(min(STEP_SECONDS, self._seconds)):
            passed, now = time.monotonic() - began, _cpu_seconds(pid)
            spent = passed if used is None or now is None else now - used
            if spent >= self._seconds or passed >= self._seconds * PATIENCE:
                return False
        return True

    def kill(self) -> None:
        """From another thread: ends the child, so that whoever waits for it waits no longer."""
        with _processes:
            if self._process is not None:
                self._killed = True
                self._process.kill()

    def close(self) -> None:
        """Ends the child, whatever it is doing."""
        with _processes:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.join(END_SECONDS)
                if process.exitcode is not None:
                    process.close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _serve(pipe: Connection, judge: Judging[Any, Any], memory: int) -> None:
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
            short = False
            try:
                judgement = judge.judge(exchange)
            except RecursionError:
                judgement = judge.inconclusive(exchange)
            except MemoryError:
                judgement, short = judge.inconclusive(exchange), True
            pipe.send(judgement)
            if short:
                return  # what is left of its memory is in pieces: a new one has all of it
    except (EOFError, OSError):
        pass  # the parent is gone or has closed: there is nobody to tell


def _cpu_seconds(pid: int) -> float | None:
    """What a process has used so far; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


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
