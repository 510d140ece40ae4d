"""Asks, pair by pair, and compares. One event loop, as in an edge worker; what may take long to compare is for a pool of processes.

Bounded: so many pairs are under way at once, and the recording is read no faster than they end. Every wait has its end: an upstream's own
timeouts, and one for all of an answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.rules import rules
from gateway.identity.stamping import stamps
from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.fields import captured
from gateway.net.lines import CREDENTIALS, REQUEST, RESPONSE
from gateway.net.outgoing import request_head
from gateway.net.pool import Pool
from gateway.net.question import Question
from gateway.policy.admission import Standing
from gateway.policy.decision import LEGACY, MIRRORED, Target
from gateway.set_cookie import NAME as SET_COOKIE
from gateway.set_cookie import without_value
from gateway.settings import Config
from gateway.tls import client_context
from gateway.trace import Ids
from recorded.entry import Entry, Trouble
from shadow import counters
from shadow.exchange import Answer, Exchange, Side, weight
from shadow.judge import Judge, Judgement
from shadow.pool import Pool as Processes
from shadow.replay.plan import RECORDED, Planner, Wanted, lines_of
from shadow.replay.tally import Tally
from shadow.signature import Signature
from shadow.worker import INLINE_BYTES

_log = logging.getLogger("banyan.replay")

SHADOW: Final = b"\r\nBanyan-Shadow: 1"
LEAST_OVERALL: Final = 30.0
"""Seconds that all of an answer may take; twice the upstream's response_timeout, where that is more."""
BEHIND: Final = 1.0
"""Seconds. A pace that was not kept is not made up for beyond this: it would be a burst that nobody asked for."""
NEAR: Final = 0.002
"""Seconds that are not slept for."""
PROOFS: Final = 2
"""Times that legacy is asked again after a pair that differed, while it is not known whether it would differ from itself in the same."""
TURN: Final = 50
"""Entries that are left out in a row before the loop looks at what else there is."""
CHECKPOINT_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """How it is asked."""

    reference: str = LEGACY
    """RECORDED or legacy."""
    other: str = "candidate"
    """candidate or legacy."""
    rate: float = 50.0
    """Pairs a second; 0: as fast as answers come."""
    speed: float = 0.0
    """Times as fast as it was recorded; 0: the times in the recording do not matter."""
    concurrency: int = 16
    """Pairs under way at once."""
    noise: float = 0.1
    """Share of the pairs for which legacy is asked a second time, whatever is found; 0: it is not asked again after a difference either."""
    users: tuple[str, ...] = ()
    """Who calls, in turn; nobody, if empty."""
    https: bool = False
    """Upstreams are told that clients came over it."""


class Replay:
    """One run. `stop` ends it early: what is under way is finished."""

    def __init__(
        self,
        config: Config,
        options: Options,
        planner: Planner,
        judge: Judge,
        tally: Tally,
        *,
        judged: Callable[[Judgement], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
        progress: Callable[[], None] | None = None,
    ) -> None:
        """`judged` is told of each judgement. `checkpoint` is called every few seconds, while nothing is under way: what it raises ends the
        run. `progress` is called again and again.

        Raises:
            gateway.tls.TlsError: an upstream's files cannot be used.
            gateway.identity.stamping.StampKeyError: the stamps' key cannot be used.
        """
        self.tally = tally
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._options = options
        self._planner = planner
        self._judge = judge
        self._told = judged
        self._checkpoint = checkpoint
        self._progress = progress
        self._run = os.urandom(3).hex()
        self._ids = Ids()
        self._stamps = stamps(config)
        self._stamped = rules(config)
        self._callers = [Caller(user, standing=Standing.KNOWN) for user in options.users] or [ANONYMOUS]
        self._deadlines = Deadlines(self._loop, Clock())
        needed = {LEGACY} | {route.candidate for route in config.routes if not route.split}
        self._overall = self._deadlines.add(
            max(LEAST_OVERALL, *(2 * config.upstreams[name].response_timeout for name in needed)), Question.timed_out
        )
        self._pools = {name: self._pool(name) for name in sorted(needed)}
        self._legacy = Target(LEGACY)
        self._slow: Processes[Exchange, Judgement] = Processes(judge, self._slowly, weight, processes=config.shadow.processes)
        self._slowly_judged: dict[int, tuple[Exchange, _Pair]] = {}
        self._pairs: set[_Pair] = set()
        self._room = asyncio.Event()
        """A pair has ended."""
        self._counts: dict[str, int] = {}
        """By route: pairs begun, by which those are chosen that are asked for noise."""
        self._epoch = 0.0
        """The loop's time to which the pace is counted."""
        self._paced = 0
        self._first: float | None = None
        """The recording's first time."""
        for lines in (REQUEST, RESPONSE):
            lines.keep_secret(name.lower().encode() for name in config.shadow.redact if not name.startswith("$"))

    async def run(self, found: Iterable[Entry | Trouble]) -> bool:
        """All of it, but for as many as `tally.read` says are done with. Whether it came to the end."""
        self._deadlines.start()
        try:
            whole = await self._ask(found)
            await self._quiet()
            return whole
        finally:
            self._close()

    async def _ask(self, found: Iterable[Entry | Trouble]) -> bool:
        done, idle = self.tally.read, 0
        self._epoch = self._loop.time()
        due = self._epoch + CHECKPOINT_SECONDS
        for number, each in enumerate(found, 1):
            idle += 1
            if idle >= TURN:
                idle = 0
                await asyncio.sleep(0)
            if self.stop.is_set():
                return False
            if number <= done:
                continue
            wanted = self._planned(each)
            if wanted is not None:
                idle = 0
                await self._turn(wanted.entry)
                while len(self._pairs) >= self._options.concurrency:
                    await self._wait()
                if self.stop.is_set():
                    return False  # it was not asked: the next run begins with it
                self._begin(wanted)
            self.tally.read = number
            if self._progress is not None:
                self._progress()
            if self._checkpoint is not None and self._loop.time() >= due:
                await self._quiet()
                self._checkpoint()
                due = self._loop.time() + CHECKPOINT_SECONDS
        return True

    def _pool(self, name: str) -> Pool:
        upstream = self._config.upstreams[name]
        return Pool(
            self._loop,
            self._deadlines,
            name,
            upstream.places,
            connect_timeout=upstream.connect_timeout,
            response_timeout=upstream.response_timeout,
            tls=client_context(upstream, name, self._config),
            server_name=upstream.tls.server_name,
        )

    def _close(self) -> None:
        for pair in self._pairs:
            pair.cancel()
        self._slow.clear()
        self._slow.close()
        for pool in self._pools.values():
            pool.end()
        self._deadlines.stop()

    async def _wait(self) -> None:
        """Until a pair has ended."""
        self._room.clear()
        await self._room.wait()

    async def _quiet(self) -> None:
        """Until nothing is under way."""
        while self._pairs:
            await self._wait()

    def _planned(self, found: Entry | Trouble) -> Wanted | None:
        if isinstance(found, Trouble):
            self.tally.trouble(found)
            return None
        plan = self._planner.plan(found)
        if isinstance(plan, Wanted):
            return plan
        if plan.route:
            self.tally.route(plan.route).skip(plan.reason, time.time())
        else:
            self.tally.left_out[plan.reason] += 1
        return None

    async def _turn(self, entry: Entry) -> None:
        """Waits until it is time for it, or for the end."""
        options, now = self._options, self._loop.time()
        if options.speed:
            if entry.at is None:
                return
            if self._first is None:
                self._first, self._epoch = entry.at, now
            due = self._epoch + (entry.at - self._first) / options.speed
        elif options.rate:
            due = self._epoch + self._paced / options.rate
            self._paced += 1
        else:
            return
        if now - due > BEHIND:
            self._epoch += now - due
        elif due - now > NEAR:
            try:
                async with asyncio.timeout(due - now):
                    await self.stop.wait()
            except TimeoutError:
                pass  # it is time

    def _begin(self, wanted: Wanted) -> None:
        count = self._counts[wanted.route] = self._counts.get(wanted.route, 0) + 1
        share = self._options.noise
        # Evenly, as many as the share says. A write is never sent again, sandbox or not.
        again = share > 0 and self._options.reference == LEGACY and wanted.head.method in MIRRORED
        self._ids.begin()
        pair = _Pair(self, wanted, noise=again and int(count * share) > int((count - 1) * share), again=again)
        self._pairs.add(pair)
        pair.start()

    # What a pair asks of it

    def answer_of(self, question: Question, side: Side) -> Answer:
        """As the shadow captures it."""
        answer = Answer(
            side, question.upstream, question.status, question.fields, question.body, question.elapsed, question.error, question.skipped
        )
        if question.error:
            answer.head = answer.body = b""
        return answer

    def question(self, wanted: Wanted, target: Target, request_id: bytes, trace: bytes, done: Callable[[Question], None]) -> Question:
        """One side's."""
        head, name = wanted.head, target.upstream
        entry = wanted.entry
        client = _address(entry.client)
        proto = b"https" if self._options.https else b"http"
        forwarding = b"\r\nX-Forwarded-For: %s\r\nX-Forwarded-Proto: %s\r\nX-Forwarded-Host: %s" % (client, proto, head.host)
        stamp = b""
        if self._stamps is not None and wanted.route in self._stamped:
            caller = self._callers[entry.where % len(self._callers)]
            stamp = self._stamps.field(caller, name, time.time())
        data = request_head(head, target, forwarding, request_id, trace, stamp, extra=SHADOW) + wanted.body
        pool = self._pools[name]
        return Question(
            pool,
            name,
            data,
            limit=wanted.rules.shadow.capture,
            head_only=head.method == "HEAD",
            repeatable=wanted.repeatable,
            overall=self._overall,
            done=done,
        )

    def names(self, wanted: Wanted) -> tuple[bytes, bytes]:
        """The request's id, and its trace."""
        return f"replay-{self._run}-{wanted.entry.where}".encode(), self._ids.traceparent()

    @property
    def reference(self) -> str:
        return self._options.reference

    def other(self, wanted: Wanted) -> Target:
        return self._legacy if self._options.other == LEGACY else wanted.rules.candidate

    def compare(self, pair: _Pair, exchange: Exchange) -> None:
        """Sooner or later `pair` is told that it was judged."""
        try:
            found = self._judge.judge(exchange, INLINE_BYTES)
        except Exception:  # the next pair must be compared whatever this one hit; it is told here, and counted
            _log.exception("comparing request %s on route %s failed", exchange.request_id, exchange.route)
            self._judged(pair, exchange, None)
            return
        if found is not None:
            self._judged(pair, exchange, found)
        else:
            self._slowly_judged[id(exchange)] = exchange, pair
            self._slow.start()
            self._offer(exchange)

    def ended(self, pair: _Pair) -> None:
        """Nothing more comes of it."""
        self._pairs.discard(pair)
        self._room.set()

    def _offer(self, exchange: Exchange) -> None:
        if not self._slow.offer(exchange):
            self._loop.call_later(AGAIN_SECONDS, self._offer, exchange)  # its pair holds its place meanwhile, so they are few

    def _slowly(self, exchange: Exchange, judgement: Judgement | None) -> None:
        """In a thread of the pool's."""
        if self._slow.settle(exchange):
            self._loop.call_soon_threadsafe(self._judged_slowly, exchange, judgement)

    def _judged_slowly(self, exchange: Exchange, judgement: Judgement | None) -> None:
        _, pair = self._slowly_judged.pop(id(exchange))
        self._judged(pair, exchange, judgement)

    def _judged(self, pair: _Pair, exchange: Exchange, judgement: Judgement | None) -> None:
        route = self.tally.route(exchange.route)
        proof = pair.proof(exchange)
        if judgement is not None and proof is not None:
            route.proved(proof, judgement)
        elif judgement is not None:
            route.judged(judgement)
            if self._told is not None:
                self._told(judgement)
            if exchange.kind == "pair" and judgement.outcome == "mismatch":
                pair.prove(judgement.signatures)
        elif exchange.kind == "pair":
            route.skip(counters.FAILED.removeprefix(counters.SKIPPED), exchange.at)
        pair.judged()


class _Pair:
    """One request and its answers."""

    def __init__(self, replay: Replay, wanted: Wanted, *, noise: bool, again: bool) -> None:
        """`noise`: legacy is asked a second time, whatever is found. `again`: it may be, where something is."""
        self._replay = replay
        self._wanted = wanted
        self._at = time.time()
        self._id, self._trace = replay.names(wanted)
        trace = self._trace
        self._may_ask_again = again
        self._reference: Answer | None = None
        self._proofs: dict[int, tuple[Exchange, tuple[Signature, ...]]] = {}
        """By identity: comparisons of legacy with itself because of these signatures."""
        self._first: Question | None = None
        """The reference's, unless that is in the recording."""
        self._again: list[Question] = []
        if replay.reference != RECORDED:
            self._first = replay.question(wanted, Target(LEGACY), self._id, trace, self._answered)
            if noise:
                self._again = [replay.question(wanted, Target(LEGACY), self._id, trace, self._answered)]
        self._other = replay.question(wanted, replay.other(wanted), self._id, trace, self._answered)
        self._asked = [each for each in (self._first, self._other) if each is not None] + self._again
        self._left = len(self._asked)
        self._comparing = 1 + len(self._again)

    def start(self) -> None:
        for question in self._asked:
            question.start()

    def cancel(self) -> None:
        for question in self._asked:
            question.cancel()

    def prove(self, signatures: tuple[Signature, ...]) -> None:
        """It has shown these. Legacy is asked whether it does so by itself."""
        if not self._may_ask_again or not self._replay.tally.route(self._wanted.route).unsure(signatures):
            return

        def answered(question: Question) -> None:
            assert self._reference is not None  # noqa: S101 - it has differed
            exchange = self._exchange(self._reference, self._replay.answer_of(question, "legacy"), "noise")
            self._proofs[id(exchange)] = exchange, signatures
            self._replay.compare(self, exchange)

        asked = [self._replay.question(self._wanted, Target(LEGACY), self._id, self._trace, answered) for _ in range(PROOFS)]
        self._comparing += len(asked)
        self._asked += asked
        for question in asked:
            question.start()

    def proof(self, exchange: Exchange) -> tuple[Signature, ...] | None:
        """The signatures because of which it was asked for; None: it was not."""
        found = self._proofs.get(id(exchange))
        return None if found is None else found[1]

    def judged(self) -> None:
        """One of its comparisons is done."""
        self._comparing -= 1
        if not self._comparing:
            self._replay.ended(self)

    def _answered(self, question: Question) -> None:
        self._left -= 1
        if self._left:
            return
        replay, wanted = self._replay, self._wanted
        other = replay.answer_of(self._other, "candidate")
        reference = replay.answer_of(self._first, "legacy") if self._first is not None else recorded(wanted.entry)
        self._reference = reference
        tally = replay.tally.route(wanted.route)
        tally.answered(other)
        if self._first is not None:
            tally.answered(reference)
        # First what legacy says against itself: `compare` may end the pair.
        for again in self._again:
            replay.compare(self, self._exchange(reference, replay.answer_of(again, "legacy"), "noise"))
        replay.compare(self, self._exchange(reference, other, "pair"))

    def _exchange(self, served: Answer, shadow: Answer, kind: Literal["pair", "noise"]) -> Exchange:
        head = self._wanted.head
        target = head.target.decode("latin-1")
        return Exchange(
            self._wanted.route,
            self._id.decode(),
            self._at,
            head.method,
            target,
            captured(head),
            self._wanted.body,
            served,
            shadow,
            kind,
        )


def recorded(entry: Entry) -> Answer:
    """The answer in the recording, as the shadow would have captured it."""
    fields = tuple(
        (name, without_value(value) if name.lower() == SET_COOKIE else value)
        for name, value in entry.answer_fields
        if name.lower() == SET_COOKIE or name.lower() not in CREDENTIALS
    )
    assert entry.status is not None  # noqa: S101 - the plan has looked
    return Answer("legacy", RECORDED, entry.status, lines_of(fields), entry.answer_body or b"", entry.duration or 0.0)


def _address(client: str | None) -> bytes:
    """Whom upstreams are told that the request is from."""
    try:
        return str(ip_address(client or "")).encode()
    except ValueError:
        return b"127.0.0.1"
