"""What all flows of one worker share for its life: counts, tasks, and the terms that its next request will go by."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine

from gateway.access import AccessLog
from gateway.mitm.terms import Terms
from gateway.mitm.watch import Watch
from gateway.policy.decision import Policy
from gateway.sampling import Sample
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.tally import Tally
from gateway.trace import Ids


class Shared:
    """See the module's docstring."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        access: AccessLog,
        shipper: ShipperLink | None,
        chance: Callable[[], float] = random.random,
        watch: Watch | None = None,
    ) -> None:
        self.terms = Terms(config, policy)
        self._retired: list[Terms] = []
        """Terms of before, by which requests still go."""
        self.access = access
        self.shipper = shipper
        self.chance = chance
        self.watch = watch
        self.tally = Tally()
        self.sample = Sample()
        self.draining = False
        self.mirrors: dict[str, int] = {}
        """Mirrored requests under way, by route."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.ids = Ids()
        self.ended: Callable[[bytes], None] | None = None
        """Told of the key of each cookie that legacy ended: the other workers know it too."""

    @property
    def in_flight(self) -> int:
        """Requests being answered."""
        return self.terms.in_flight + sum(terms.in_flight for terms in self._retired)

    def reconfigure(self, config: Config, policy: Policy) -> None:
        """From now on requests begin under other terms. Those in flight end under their own."""
        before = self.terms
        self.terms = Terms(config, policy, before)
        self._retired.append(before)

    def sweep(self) -> None:
        """Lets go of terms by which no request goes any more."""
        for terms in [each for each in self._retired if each.over]:
            self._retired.remove(terms)
            self.keep(terms.close([self.terms, *self._retired]), "end of old clients")

    def end(self, key: bytes) -> None:
        """Legacy has ended the cookie with this key, here or before another worker."""
        for terms in (self.terms, *self._retired):
            if terms.callers is not None:
                terms.callers.drop(key)

    def questions(self) -> dict[str, int]:
        """What came of the questions who is calling, since the last time."""
        found: dict[str, int] = {}
        for terms in (self.terms, *self._retired):
            if terms.callers is not None:
                outcomes, terms.callers.outcomes = terms.callers.outcomes, {}
                for outcome, count in outcomes.items():
                    found[outcome] = found.get(outcome, 0) + count
        return found

    def keep(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """A task that is kept until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        if not task.done():  # mitmproxy runs tasks eagerly: it may have ended already
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def now() -> float:
        """A monotonic clock in seconds: for durations."""
        return time.monotonic()

    @staticmethod
    def wall() -> float:
        """Unix time in seconds: for people."""
        return time.time()

    async def close(self) -> None:
        """Ends what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._retired:
            await self._retired.pop().close([self.terms, *self._retired])
        await self.terms.close([])
