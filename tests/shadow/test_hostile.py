"""Bodies that mean harm: each ends in a verdict, through the real worker and its processes, and the next exchange is compared."""

from __future__ import annotations

import gzip
import time
import zlib
from collections import Counter
from collections.abc import Iterator

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from shadow import counters
from shadow.batch import Batch
from shadow.compare import Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
from shadow.worker import Worker

JSON = b"Content-Type: application/json\r\n"
PAGE = b"Content-Type: text/html\r\n"
TEXT = b"Content-Type: text/plain\r\n"
ZEROS = bytes(100_000_000)


def coded(coding: str) -> bytes:
    return JSON + f"Content-Encoding: {coding}\r\n".encode()


HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "a million keys": (JSON, b"{" + b",".join(b'"%x":0' % number for number in range(1_000_000)) + b"}"),
    "a million empty lists": (JSON, b"[" + b"[]," * 1_000_000 + b"0]"),
    "very deep": (JSON, b'{"a":' * 1_000_000),
    "deep and closed": (JSON, b"[" * 200_000 + b"]" * 200_000),
    "a huge number": (JSON, b"[" + b"9" * 4_000_000 + b"]"),
    "huge exponents": (JSON, b"[1e999999999,-1e999999999,1e-999999999]"),
    "not UTF-8": (JSON, b'{"a":"\xff\xfe\xc0\xaf\xed\xa0\x80"}'),
    "lone surrogates": (JSON, rb'{"a":"\ud800","\udfff":1}'),
    "one key many times": (JSON, b"{" + b'"a":1,' * 100_000 + b'"a":2}'),
    "NaN": (JSON, b'{"a":NaN,"b":Infinity,"c":-Infinity}'),
    "NUL": (JSON, b'{"a":"\0"}\0\0'),
    "a bomb in gzip": (coded("gzip"), gzip.compress(ZEROS)),
    "a bomb in deflate": (coded("deflate"), zlib.compress(ZEROS)),
    "a bomb in br": (coded("br"), brotli.compress(ZEROS, quality=3)),
    "a bomb in zstd": (coded("zstd"), zstandard.ZstdCompressor().compress(ZEROS)),
    "a coding within itself": (coded("gzip, gzip, gzip"), gzip.compress(gzip.compress(gzip.compress(bytes(10_000_000))))),
    "a coding that breaks off": (coded("gzip"), gzip.compress(b"x" * 100_000)[:-50]),
    "10 MB of tags": (PAGE, b"<b></b>" * 1_430_000),
    "tags that never end": (PAGE, b"<a b='" * 500_000),
    "deep tags": (PAGE, b"<div>" * 300_000),
    "references": (PAGE, b"<p>" + b"&amp;&#x26;&lt" * 200_000),
    "a million lines": (TEXT, b"a\n" * 1_000_000),
    "digits that may be cards": (TEXT, b"4111 1111-1111 " * 100_000),
    "almost a token": (TEXT, b"eyJ" + b"hbGciOiJ." * 200_000),
    "Bearer, Bearer": (TEXT, b"Bearer " * 300_000),
    "almost a form": (b"Content-Type: application/x-www-form-urlencoded\r\n", b"a=%zz&" * 200_000),
    "a form in parts without an end": (b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\nA: b\r\n\r\n" * 100_000),
}


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
