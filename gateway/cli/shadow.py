"""`banyan shadow`: a shadow worker alone."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from gateway.cli.shared import RefusalError, load_config


def shadow(*, config: Path = Path("banyan.toml"), metrics: str = "") -> int:
    """Compares what gateways send through NATS, until SIGTERM. As many as you like, on any machines.

    Example: banyan shadow --config banyan.toml --metrics 127.0.0.1:9901

    Parameters
    ----------
    config
        The configuration, the same as the gateways'; its [shadow] says sink = "jetstream".
    metrics
        HOST:PORT for Prometheus to ask; by default nowhere.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # until the worker takes it: there is nothing to finish yet
    from setproctitle import setproctitle

    from shadow import logs
    from shadow.sinks import SinkError
    from shadow.standalone import serve

    loaded = load_config(config)
    if loaded.shadow.sink != "jetstream":
        raise RefusalError(f'{config}: shadow.sink is "local": the gateway compares by itself. Write sink = "jetstream" for shadow workers')
    address = _address(metrics) if metrics else None
    logs.begin("shadow worker", logging.WARNING)
    setproctitle("banyan: shadow worker")
    try:
        whole = serve(loaded, address)
    except SinkError as error:
        raise RefusalError(str(error)) from error
    return 0 if whole else 1


def _address(text: str) -> tuple[str, int]:
    from gateway.settings import parse_address

    try:
        address = parse_address(text)
    except ValueError as error:
        raise RefusalError(f"--metrics: {error}") from error
    if isinstance(address, str):
        raise RefusalError("--metrics: write HOST:PORT")
    return address
