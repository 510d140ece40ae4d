"""Runs relays and consumers until SIGTERM or SIGINT. What is under way then is undone by its transaction, and comes again."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from events.address import AddressError
from events.metrics import served
from shadow import logs


def run(
    name: str,
    work: Sequence[Coroutine[Any, Any, None]],
    registry: CollectorRegistry,
    address: str,
    standing: Callable[[], dict[str, Any]] | None = None,
) -> int:
    """Returns the exit status: 0 when it was told to end, 1 when something broke, 2 when nobody can listen on `address`: that of
    the metrics, HOST:PORT; "": none. `standing`: what is answered beside them."""
    logs.begin(name, logging.WARNING)
    try:
        with served(registry, address, standing) as where:
            if where:
                print(f"{name}: metrics on http://{where}/metrics", flush=True)
            return asyncio.run(_run(name, work))
    except AddressError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{name}: can't listen on {address}: {error}", file=sys.stderr)
        return 2
    finally:
        for one in work:  # which nobody awaits where it does not begin
            one.close()


async def _run(name: str, work: Sequence[Coroutine[Any, Any, None]]) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tasks = [loop.create_task(one, name=f"{name} {number}") for number, one in enumerate(work)]
    waiting = loop.create_task(ended.wait(), name="signal")
    print(f"{name}: running", flush=True)
    await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    broken = [task for task in tasks if task.done()]
    for task in (*tasks, waiting):
        task.cancel()
    results = await asyncio.gather(*tasks, waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            logging.getLogger("banyan.events").error("%s", name, exc_info=result)
    return 1 if broken else 0
