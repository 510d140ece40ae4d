"""One replay from its beginning to its end: the recording, the state, the database if one is wanted, and the signals that end it early."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from gateway.identity.stamping import StampKeyError
from gateway.settings import Config
from gateway.tls import TlsError
from recorded.reading import Format, Recording, RecordingError
from shadow import counters
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.judge import Judge, Judgement
from shadow.redact import Redactor
from shadow.replay import state
from shadow.replay.asking import Options
from shadow.replay.engine import Replay
from shadow.replay.plan import Planner
from shadow.replay.tally import Tally
from shadow.rules import Rule


class ReplayError(Exception):
    """It cannot be done as asked. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which requests, and where what is found is kept."""

    recording: Path
    form: Format | None = None
    """None: by its content."""
    routes: tuple[str, ...] = ()
    unsafe: bool = False
    credentials: bool = False
    host: str = ""
    state: Path | None = None
    resume: bool = False
    store: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    tally: Tally
    whole: bool
    """It came to the recording's end."""
    form: Format
    began: float
    """Unix seconds."""
    made: float
    seconds: float
    """That this run took, of however many."""


Progress = Callable[[Recording, Tally, float], None]
"""Told of the recording, of what was found, and of the seconds since this run began."""


def conduct(config: Config, asked: Asked, options: Options, progress: Progress) -> Result:
    """Asks and compares.

    Raises:
        ReplayError: something that it needs cannot be used.
        KeyboardInterrupt: it was told twice to end.
    """
    try:
        with Recording(asked.recording, asked.form) as recording, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_conduct(config, asked, options, progress, recording))
    except (RecordingError, state.StateError, TlsError, StampKeyError) as error:
        raise ReplayError(str(error)) from error
    except asyncio.CancelledError:  # by the second signal
        raise KeyboardInterrupt from None


async def _conduct(config: Config, asked: Asked, options: Options, progress: Progress, recording: Recording) -> Result:
    about = _about(config, asked, options, recording)
    tally = _begun(asked, about)
    store = _Store(config) if asked.store else None
    judge = store.judge if store is not None else _judge(config)
    planner = Planner(
        config,
        reference=options.reference,
        other=options.other,
        routes=asked.routes,
        unsafe=asked.unsafe,
        credentials=asked.credentials,
        host=asked.host,
    )

    def keep() -> None:
        if store is not None:
            store.write()
        if asked.state is not None:
            try:
                state.write(asked.state, about, tally)
            except OSError as error:
                raise ReplayError(f"{asked.state}: {error.strerror}: the state cannot be kept") from error

    began, clock = time.time(), time.monotonic()
    replay = Replay(
        config,
        options,
        planner,
        judge,
        tally,
        judged=store.add if store is not None else None,
        checkpoint=keep if store is not None or asked.state is not None else None,
        progress=lambda: progress(recording, tally, time.monotonic() - clock),
    )
    keep()  # what cannot be written is known before anybody is asked
    with _interrupted(replay):
        whole = await replay.run(recording)
    keep()
    return Result(tally, whole, recording.format, began, time.time(), time.monotonic() - clock)


def _about(config: Config, asked: Asked, options: Options, recording: Recording) -> dict[str, Any]:
    """What has to be the same for one run to go on where another was. How fast it goes does not matter."""
    try:
        known = state.known_by(asked.recording) if asked.state is not None else {}
    except OSError as error:
        raise RecordingError(f"{asked.recording}: {error.strerror}") from error
    rules = [[route.name, route.match, route.methods, route.candidate, route.shadow.model_dump(mode="json")] for route in config.routes]
    return {
        "recording": known,
        "format": str(recording.format),
        "route": sorted(asked.routes),
        "against": [options.reference, options.other],
        "unsafe": asked.unsafe,
        "credentials": asked.credentials,
        "host": asked.host,
        "noise": options.noise,
        "user": list(options.users),
        "https": options.https,
        "store": asked.store,
        "routes in the configuration": rules,
    }


def _begun(asked: Asked, about: dict[str, Any]) -> Tally:
    if asked.state is None:
        return Tally()
    if asked.resume:
        return state.resumed(asked.state, about)
    if asked.state.exists():
        raise ReplayError(f"{asked.state} is there already: go on from it with --resume, or remove it to begin anew")
    return Tally()


def _judge(config: Config) -> Judge:
    """By the rules in the configuration, with a key for redaction that nobody keeps."""
    rules = {route.name: Rules.make(**route.shadow.compare.model_dump()) for route in config.routes}
    return Judge(Redactor(config.shadow.redact, os.urandom(32), config.shadow.redact_patterns), rules)


class _interrupted:  # noqa: N801 - a context manager
    """Within it, the first SIGINT or SIGTERM ends the run in order, and the second at once."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _end(self) -> None:
        if self._replay.stop.is_set() and self._task is not None:
            self._task.cancel()
        self._replay.stop.set()


class _Store:
    """The shadow's database, to which a replay adds as live traffic does. From a thread of its own: Django refuses one that runs an event
    loop, and nothing is under way while it is waited for."""

    def __init__(self, config: Config) -> None:
        """
        Raises:
            ReplayError: it cannot be used.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._batch = Batch()
        self.judge = self._thread.submit(_opened, config).result()

    def add(self, judgement: Judgement) -> None:
        self._batch.judgement(judgement)
        if not judgement.noise:
            for name in (counters.ELIGIBLE, counters.CAPTURED):
                self._batch.count(judgement.route, judgement.at, name)

    def write(self) -> None:
        """
        Raises:
            ReplayError: the database refused.
        """
        batch, self._batch = self._batch, Batch()
        if batch:
            self._thread.submit(_written, batch).result()


def _opened(config: Config) -> Judge:
    """One that judges by the reviewed rules, too. The database is ready.

    Raises:
        ReplayError: it cannot be used.
    """
    from shadow import rulebook, store
    from shadow.sinks import SinkError
    from shadow.sinks.local import redaction

    try:
        _, redactor, rules = redaction(config)
        store.open_database(config.shadow.database, config.folder)
        active = [(row.route, rulebook.rule_of(row)) for row in rulebook.active(None, time.time())]
    except (SinkError, ValueError, OSError, *store.FAILURES) as error:
        raise ReplayError(f"{config.path}: shadow.database: {str(error).partition('\n')[0]}") from error
    more: dict[str, list[Rule]] = {}
    for route, rule in active:
        if rule is not None:
            more.setdefault(route, []).append(rule)
    return Judge(redactor, rules, more)


def _written(batch: Batch) -> None:
    from shadow import store

    try:
        store.write(batch)
    except store.FAILURES as error:
        raise ReplayError(f"shadow.database cannot be written: {str(error).strip().partition('\n')[0]}") from error
