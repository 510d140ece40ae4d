"""`banyan run`: the gateway."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.cli.shared import RefusalError
from gateway.quick import importing, leave

if TYPE_CHECKING:
    from gateway.children import Extra

ENGINES = {"edge": "gateway.worker", "mitmproxy": "gateway.mitm"}


def run(*, config: Path = Path("banyan.toml"), engine: Literal["edge", "mitmproxy"] = "edge") -> int:
    """Serves until SIGTERM, which drains.

    Example: banyan run --config banyan.toml

    Parameters
    ----------
    config
        The configuration.
    engine
        edge: fast, for production. mitmproxy: slower, for looking inside.
    """
    return serve(config, ENGINES[engine], lambda line: print(line, flush=True))


def serve(config: Path, engine: str, announce: Callable[[str], None], *, workers: int = 0, extra: Extra | None = None) -> int:
    """The gateway, until SIGTERM or SIGINT. `engine`: the module that its workers run; see gateway.supervisor.Supervisor.

    Raises:
        RefusalError: it cannot be started.
    """
    # Until the supervisor takes them: there is nothing to reload yet, and nothing to drain.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    with importing():
        from setproctitle import setproctitle

        from flags.file import FlagFileError
        from flags.source import FlagSourceError
        from gateway import admin
        from gateway.config import ConfigError, parse, read
        from gateway.listening import BindError
        from gateway.supervisor import StartError, Supervisor
    from shadow import logs

    logs.begin("supervisor", logging.WARNING)
    for name in ("banyan.reload", "banyan.flags", "banyan.identity"):  # that trouble is over is news too
        logging.getLogger(name).setLevel(logging.INFO)
    setproctitle("banyan: supervisor")
    try:
        text = read(config)
        supervisor = Supervisor(parse(config, text), text, engine=engine, announce=announce, workers=workers, extra=extra)
        supervisor.listen()
        leave(asyncio.run(supervisor.run(admin.serve)))
    except (ConfigError, FlagSourceError, FlagFileError, BindError, StartError) as error:
        raise RefusalError(str(error)) from error
