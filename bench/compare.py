"""What a comparison costs, from the record on the local socket to the count in the batch; beside DeepDiff on the same two documents."""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from deepdiff import DeepDiff

from bench.bars import BARS
from bench.section import Section
from bench.stage import Say, client
from gateway.settings.shadow import Shadow
from shadow.batch import Batch
from shadow.budget import BudgetedJudge
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange, Frames, encode
from shadow.judge import Judge, Judgement
from shadow.redact import Redactor
from shadow.worker import INLINE_BYTES

PATIENCE = 60.0
"""Seconds that DeepDiff gets for one pair."""
_COLUMNS = ["a pair", "bytes", "Banyan, ms", "a second", "DeepDiff, ms", "DeepDiff with ignore_order, ms"]
_HEAD = b"Content-Type: application/json\r\nCache-Control: no-store\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\nServer: one\r\n"

type Document = list[dict[str, Any]]


def _orders(count: int, **customer: str) -> Document:
    """Records as APIs have them, about 300 bytes each."""
    chance = random.Random(count)  # noqa: S311 - the same documents in each run
    return [
        {
            "id": 1000 + number,
            "number": f"ORD-2026-{number:06d}",
            "state": chance.choice(("paid", "sent", "returned")),
            "total": round(chance.uniform(1, 900), 2),
            "paid": chance.random() < 0.5,
            "created_at": "2026-03-01T12:00:00Z",
            "customer": {"id": chance.randrange(10**6), "name": f"Customer {number}", "segment": None, "city": "Seoul", **customer},
            "lines": [{"sku": f"S{chance.randrange(10**5)}", "quantity": chance.randrange(1, 9)} for _ in range(3)],
        }
        for number in range(count)
    ]


def _changed(orders: Document, changes: int) -> Document:
    changed = copy.deepcopy(orders)
    for number in range(changes):
        changed[number * len(orders) // changes]["customer"]["city"] = "Busan"
    return changed


def _elements(count: int) -> Document:
    return [{"id": number, "sku": f"S{number * 7919 % 100_000}", "price": number / 4, "stock": number % 50} for number in range(count)]


def _moved(elements: Document) -> Document:
    """In another order, and every tenth with another price."""
    moved = [element | {"price": 0.125} if element["id"] % 10 == 3 else element for element in elements]
    random.Random(1).shuffle(moved)  # noqa: S311 - the same order in each run
    return moved


@dataclass(frozen=True)
class _Case:
    """Two documents and how they are compared."""

    what: str
    pair: Callable[[], tuple[Document, Document]]
    differences: int
    """Signatures that have to be found: a comparison that finds nothing is quick."""
    rules: Rules = field(default_factory=Rules)
    packed: bool = False
    """Whether the candidate's body is compressed, so that its bytes are others."""


_KEYED = Rules.make(key={"$": "id"}, unordered=["$"])
CASES = {
    "equal": _Case("1 KB, equal bytes", lambda: (_orders(4), _orders(4)), 0),
    "packed": _Case("1 KB, equal once unpacked and parsed", lambda: (_orders(4), _orders(4)), 0, packed=True),
    "one": _Case("27 KB, one change", lambda: (_orders(92), _changed(_orders(92), 1)), 1),
    "redacted": _Case(
        "27 KB, one change, an address to redact in each record",
        lambda: (_orders(85, email="a@shop.test"), _changed(_orders(85, email="a@shop.test"), 1)),
        1,
    ),
    "twenty": _Case("566 KB, 20 changes, in the process with a budget", lambda: (_orders(1916), _changed(_orders(1916), 20)), 1),
    "keyed": _Case(
        "800 elements in another order, every tenth changed, by key", lambda: (_elements(800), _moved(_elements(800))), 1, _KEYED
    ),
}  # fmt: skip


def main() -> None:
    """`python -m bench.compare CASE`: the figures as JSON, from a process in which nothing else runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--deepdiff", choices=("plain", "ignore_order"), help="DeepDiff on the same documents, in place of this project")
    given = parser.parse_args()
    case = CASES[given.case]
    if given.deepdiff:
        print(json.dumps({"ms": _deepdiff(case, given.seconds, ignore_order=given.deepdiff == "ignore_order")}))
        return
    exchange = _exchange(case)
    print(json.dumps({"ms": _ours(case, exchange, given.seconds), "bytes": len(exchange.served.body)}))


def _exchange(case: _Case) -> Exchange:
    bodies = [json.dumps(document, separators=(",", ":")).encode() for document in case.pair()]
    head = _HEAD.replace(b"one", b"two")
    if case.packed:
        bodies[1], head = gzip.compress(bodies[1]), head + b"Content-Encoding: gzip\r\n"
    answers = Answer("legacy", "legacy", 200, _HEAD, bodies[0], 0.01), Answer("candidate", "new", 200, head, bodies[1], 0.01)
    return Exchange("r", "0123456789abcdef", 1.0, "GET", "/api/v1/orders?page=2", b"Host: shop.test\r\n", b"", *answers)


def _ours(case: _Case, exchange: Exchange, seconds: float) -> float:
    """Milliseconds of one comparison, in the best round: the others were disturbed."""
    frame = encode(exchange)
    judge = Judge(Redactor(Shadow().redact, b"k" * 32), {"r": case.rules})
    with _slow(judge) as slow:

        def once() -> None:
            batch = Batch()
            for record in Frames().feed(frame):
                assert isinstance(record, Exchange)  # noqa: S101 - it was encoded above
                judgement = judge.judge(record, INLINE_BYTES) or slow.judge(record)
                batch.judgement(judgement)
                if judgement.outcome != ("mismatch" if case.differences else "match") or len(judgement.signatures) != case.differences:
                    raise AssertionError(f"{case.what}: {judgement.outcome} {judgement.signatures}")

        return _best(once, seconds)


@contextmanager
def _slow(judge: Judge) -> Iterator[BudgetedJudge[Exchange, Judgement]]:
    slow: BudgetedJudge[Exchange, Judgement] = BudgetedJudge(judge)
    try:
        yield slow
    finally:
        slow.close()


def _deepdiff(case: _Case, seconds: float, *, ignore_order: bool) -> float:
    """The same for DeepDiff, which gets its documents parsed."""
    legacy, candidate = case.pair()
    return _best(lambda: DeepDiff(legacy, candidate, ignore_order=ignore_order), seconds)


def _best(once: Callable[[], object], seconds: float) -> float:
    """Milliseconds of a call, in the quickest of the rounds that fit into `seconds`; one round at least."""
    ends = time.perf_counter() + seconds
    began = time.perf_counter()
    once()
    first = time.perf_counter() - began
    if first > seconds:
        return first * 1000
    count = max(1, min(1000, int(0.1 / first)))
    best = first
    while time.perf_counter() < ends:
        began = time.perf_counter()
        for _ in range(count):
            once()
        best = min(best, (time.perf_counter() - began) / count)
    return best * 1000


def _raw(case: str, how: str, seconds: float, patience: float) -> float | None:
    try:
        told = client("bench.compare", case, "--deepdiff", how, "--seconds", str(seconds), timeout=patience)
    except subprocess.TimeoutExpired:
        return None
    return float(told["ms"])


def run(*, only: Sequence[str] = (), seconds: float = 3.0, patience: float = PATIENCE, say: Say) -> Section:
    """`only` names peers, of which there are none here; `patience` is what DeepDiff gets for a pair, in seconds."""
    rows: list[list[str]] = []
    data: dict[str, dict[str, float | None]] = {}
    for name, case in CASES.items():
        say(f"compare: {case.what}")
        ours = client("bench.compare", name, "--seconds", str(seconds), timeout=60 + seconds)
        raw = {}
        for how in ("plain", "ignore_order"):
            say(f"compare: {case.what}, DeepDiff {how}")
            raw[how] = _raw(name, how, seconds, patience)
        data[name] = {"bytes": ours["bytes"], "ms": ours["ms"], **raw}
        shown = [f"over {patience * 1000:,.0f}" if ms is None else f"{ms:,.1f}" for ms in raw.values()]
        rows.append([case.what, f"{ours['bytes']:,}", f"{ours['ms']:,.3f}", f"{1000 / ours['ms']:,.0f}", *shown])
    verdicts = [
        BARS["compare-equal"].judge(1000 / (data["equal"]["ms"] or 0)),
        BARS["compare-one"].judge(1000 / (data["one"]["ms"] or 0)),
        BARS["compare-twenty"].judge(data["twenty"]["ms"] or 0),
        BARS["compare-keyed"].judge(data["keyed"]["ms"] or 0),
    ]
    return Section("Comparing", _COLUMNS, rows, _INTRO, verdicts=verdicts, data={"pairs": data})


_INTRO = f"""
One pair at a time on one core, from the record as it comes over the local socket: read, redacted by the default rules, compared and
counted; the quickest of the rounds. Pairs over {INLINE_BYTES // 1024} KB of body go to the process that can be ended, there and back.
DeepDiff gets the two documents already parsed, and neither reads, redacts nor counts; where it takes over {PATIENCE:.0f} s, it is ended.
It knows no keys: the list in another order is for ignore_order alone; plain DeepDiff reports every element.
"""

if __name__ == "__main__":
    main()
