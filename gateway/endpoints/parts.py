"""Reads logs with as many processes as there are cores: one hands out chunks of whole lines, the others read and count them.

What is short, or the only core, is read in this process. Each worker asks for its next chunk once it is there to take it: a slow one gets
fewer, and nobody waits for a pipe that is full. Memory is what each of them has learned and counted: bounded, whatever is in the logs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Final

from gateway.endpoints.logged import Log
from recorded.access_log import Reader
from recorded.lines import Lines, split
from recorded.log_format import Format

MOST: Final = 2
"""Workers. Each takes some 50 MiB, however large the logs are."""
_END_SECONDS: Final = 60.0

type Say = Callable[[str, int], None]
"""The log's name, and how many bytes of lines were read so far."""


class WorkerError(RuntimeError):
    """A worker ended before it was done."""


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection


type _Chunk = tuple[str, int, bytes]
"""Of which log, the number of its first line, lines."""


def read(log: Log, reader: Reader, form: Format | None, named: Iterable[tuple[str, Lines]], say: Say, workers: int | None = None) -> None:
    """Counts all lines of these logs into `log`. `reader` then says what their durations were read from.

    Raises:
        WorkerError: one of the processes was ended from outside.
    """
    many = min(MOST, os.process_cpu_count() or 1) if workers is None else workers
    chunks = _chunks(log, named, say)
    for name, number, chunk in chunks:
        log.read(reader, split(chunk), name, number)
        if many > 1 and log.settled:
            _shared(log, reader, form, chunks, many)
    log.settle()


def _chunks(log: Log, named: Iterable[tuple[str, Lines]], say: Say) -> Iterator[_Chunk]:
    done = 0
    for name, lines in named:
        number = 1
        for chunk in lines.chunks():
            yield name, number, chunk
            number += chunk.count(b"\n")
            done += len(chunk)
            say(name, done)
        if lines.trouble:
            log.troubles.add(f"{name}:{max(1, number - 1)}", f"nothing after this line could be read: {lines.trouble}")


def _shared(log: Log, reader: Reader, form: Format | None, chunks: Iterator[_Chunk], many: int) -> None:
    context = multiprocessing.get_context("fork")  # what was learned so far, and the keys of its hashes, go along
    workers: list[_Worker] = []
    try:
        for _ in range(many):
            ours, theirs = context.Pipe()
            others = [worker.pipe for worker in workers] + [ours]
            process = context.Process(target=_work, args=(log, form, theirs, others), daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
        pipes = [worker.pipe for worker in workers]
        for chunk in chunks:
            ready = wait(pipes)
            pipe = next(pipe for pipe in pipes if pipe in ready)
            pipe.recv()
            pipe.send(chunk)
        for worker in workers:
            worker.pipe.recv()
            worker.pipe.send(None)
        for worker in workers:
            part, durations = worker.pipe.recv()
            log.merge(part)
            for kind, count in durations.items():
                reader.durations[kind] = reader.durations.get(kind, 0) + count
            worker.process.join(_END_SECONDS)
    except (EOFError, ConnectionError) as error:
        raise WorkerError("one of the processes that read the log was ended, perhaps for want of memory") from error
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
            worker.process.join(_END_SECONDS)


def _work(log: Log, form: Format | None, pipe: Connection, others: list[Connection]) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()  # or it would hold them open when the first process is gone
    part, reader = log.sprout(), Reader(form)
    with suppress(EOFError, ConnectionError):  # the first process is gone: nobody asks any more
        pipe.send(None)
        while (chunk := pipe.recv()) is not None:
            name, number, data = chunk
            part.read(reader, split(data), name, number)
            pipe.send(None)
        pipe.send((part.packed(), reader.durations))
