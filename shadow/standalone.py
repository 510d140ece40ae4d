"""A shadow worker as a process of its own: its store, its signals, its metrics."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, start_http_server

from gateway.config import Config
from shadow import alarms, consumed, database, store
from shadow.consume import ShadowWorker
from shadow.consumed import Counted
from shadow.figures import Collector
from shadow.rule_source import RuleSource
from shadow.sealing import PairJudge
from shadow.shipper import NICE
from shadow.sinks import SinkError
from shadow.sinks.local import rules_of
from shadow.sinks.remote import place_of


def make_worker(config: Config) -> ShadowWorker:
    """A worker as `config` wants it. Neither NATS nor the database need be there yet.

    Raises:
        SinkError: something in the configuration can't be used.
    """
    settings = config.shadow
    try:
        folder = database.state_folder(settings.database, config.folder)
        rules = rules_of(config)
        store.setup(settings.database, config.folder)
    except (ValueError, store.StoreError) as error:
        raise SinkError(f"{config.path}: {error}") from error
    except OSError as error:
        raise SinkError(f"{config.path}: {error.filename}: {error.strerror}") from error

    def write(messages: Sequence[Counted]) -> int:
        store.renew_connection()
        return consumed.write(messages)

    def upkeep(now: float, floor: int) -> None:
        store.roll_up(now)
        store.purge(now, settings.retention)
        consumed.purge(now, floor)
        alarms.raise_alarms(now)

    return ShadowWorker(
        PairJudge(rules),
        place_of(config),
        max_age=settings.jetstream.max_age,
        prepare=lambda: store.migrate(folder),
        write=write,
        upkeep=upkeep,
        rules=RuleSource().poll,
        announce=lambda line: print(f"banyan: shadow worker {line}", flush=True),
        processes=settings.processes,
    )


def serve(config: Config, metrics: tuple[str, int] | None) -> bool:
    """Until SIGTERM or SIGINT. Whether everything that was taken is counted, or given back.

    Raises:
        SinkError: something in the configuration, or the address for metrics, can't be used.
    """
    os.nice(NICE)
    return asyncio.run(_serve(config, metrics))


async def _serve(config: Config, metrics: tuple[str, int] | None) -> bool:
    worker = make_worker(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    if metrics is None:
        return await worker.run()
    registry = CollectorRegistry()
    registry.register(Collector(worker))
    host, port = metrics
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SinkError(f"--metrics: {host}:{port}: {error.strerror}") from error
    try:
        return await worker.run()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
