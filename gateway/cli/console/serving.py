"""`banyan console`: where people review the differences."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.cli.shared import RefusalError, load_config


def console(*, config: Path = Path("banyan.toml"), listen: str = "127.0.0.1:9901") -> int:
    """Serves the console until SIGTERM.

    Where nobody can log in yet, it asks on the terminal for the first user, an operator. Where there is no terminal,
    BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD say who that is.

    Example: banyan console

    Parameters
    ----------
    config
        The configuration: its routes, and the database of the comparisons.
    listen
        host:port; port 0 takes a free one.
    """
    from setproctitle import setproctitle

    from console.prepare import ConsoleError
    from console.server import serve
    from gateway.listening import BindError, bind
    from shadow import logs

    logs.begin("console", logging.WARNING)
    setproctitle("banyan: console")
    loaded = load_config(config)
    if listen.startswith("unix:"):
        raise RefusalError(f'--listen: the console is for browsers: write "host:port", not {listen!r}')
    try:
        sock = bind(listen)
    except ValueError as error:
        raise RefusalError(f"--listen: {error}") from error
    except BindError as error:
        raise RefusalError(str(error)) from error
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"banyan: console on http://{shown}:{port}/", flush=True)
    try:
        serve(loaded, sock=sock)
    except ConsoleError as error:
        raise RefusalError(str(error)) from error
    return 0
