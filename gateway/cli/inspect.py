"""`banyan inspect`: the gateway, and mitmweb to look inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from gateway.cli.shared import RefusalError

WEB = 8081
MAX_KEEP = 100_000
MAX_BODY = 16 * 1024 * 1024


def inspect(
    *,
    config: Path = Path("banyan.toml"),
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = WEB,
    keep: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=MAX_KEEP))] = 1000,
    body: str = "64KiB",
    credentials: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serves as `banyan run --engine mitmproxy` does, with one worker, and shows in a browser what passes and what was decided about it.

    The page is on this machine alone, under a password that is printed once. Not for production: a request costs many times what it does
    at the edge.

    Example: banyan inspect --config banyan.toml --keep 500

    Parameters
    ----------
    config
        The configuration.
    port
        Of the page, on 127.0.0.1. 0: a free one.
    keep
        How many flows are kept; the oldest goes first.
    body
        How much of each body is kept.
    credentials
        Show cookies, tokens and other credentials too. Whoever sees them can sign in with them.
    """
    import importlib.util
    import os
    import secrets
    import socket

    from gateway.cli.run import serve
    from gateway.units import size

    try:
        limit = size(body)
    except ValueError as error:
        raise RefusalError(f"--body: {error}") from error
    if limit > MAX_BODY:
        raise RefusalError(f"--body: {body} is more than 16MiB; what is larger is better captured to a file")
    if importlib.util.find_spec("mitmproxy") is None:
        raise RefusalError("mitmproxy is not installed here; install it, or run `banyan run`", 1)
    from argon2 import PasswordHasher

    from gateway.children import Extra
    from gateway.usable import INSPECTED
    from inspecting.told import Told, write

    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(16)
    except OSError as error:
        sock.close()
        raise RefusalError(f"127.0.0.1:{port} cannot be had for the page: {error.strerror}. Choose another with --port", 1) from error
    password = secrets.token_hex(16)
    # Random enough that nobody can try it out: a costly hash would only cost the requests that wait meanwhile.
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)
    told = write(Told(sock.fileno(), hashed, keep, limit, credentials))
    page = f"http://127.0.0.1:{sock.getsockname()[1]}/?token={password}"

    def announce(line: str) -> None:
        print(line, flush=True)
        print(f"banyan: look inside at {page}", flush=True)

    try:
        return serve(config, INSPECTED, announce, workers=1, extra=Extra(("--told", str(told)), (told, sock.fileno())))
    finally:
        os.close(told)
        sock.close()
