"""Bodies that mean harm: each ends in a verdict, through the real worker and its processes, and the next exchange is compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from shadow import counters
from shadow.batch import Batch
from shadow.compare import Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
from shadow.worker import Worker
from tests.support.hostile import HOSTILE, JSON


def exchange(head: bytes, left: bytes, right: bytes) -> Exchange:
    return Exchange(
        "r", "q", 1.0, "GET", "/", b"", b"",
        Answer("legacy", "legacy", 200, head, left, 0.1), Answer("candidate", "new", 200, head, right, 0.1),
    )  # fmt: skip


class Kept:
    """What was written."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.kinds: Counter[Kind] = Counter()

    def write(self, batch: Batch) -> None:
        for (_, _, name), number in batch.tallies.items():
            self.names[name] += number
        for (_, kind, _), seen in batch.signatures.items():
            self.kinds[kind] += seen.count

    def verdicts(self) -> int:
        """Everything but FAILED and what was dropped."""
        assert not [name for name in self.names if name.startswith(counters.DROPPED) or name == counters.FAILED], self.names
        return sum(self.names.values())


@pytest.fixture(scope="module")
def judged() -> Iterator[tuple[Worker, Kept]]:
    judge = Judge(Redactor(["authorization", "$..password", "$..email"], b"k" * 32, ["cards", "tokens"]), {"r": Rules.make()})
    kept = Kept()
    worker = Worker(judge, prepare=lambda: None, write=kept.write, upkeep=lambda now: None, processes=2)
    worker.start()
    yield worker, kept
    assert worker.stop(10)


@pytest.mark.parametrize("name", HOSTILE)
def test_it_ends_in_a_verdict_and_the_next_is_compared(judged: tuple[Worker, Kept], name: str) -> None:
    worker, kept = judged
    head, body = HOSTILE[name]
    changed = bytearray(body)
    changed[len(body) // 2] ^= 1
    before = kept.verdicts()
    worker.offer(exchange(head, body, bytes(changed)))
    worker.offer(exchange(JSON, b'{"a": 1}', b'{"a": 2}'))
    worker.offer(exchange(head, body, body))
    deadline = time.monotonic() + 100
    while kept.verdicts() < before + 3:
        assert time.monotonic() < deadline, kept.names
        time.sleep(0.02)
    assert kept.verdicts() == before + 3
    assert set(kept.names) <= {counters.MATCHED, counters.MISMATCHED}
    assert kept.kinds[Kind.VALUE] >= 1
