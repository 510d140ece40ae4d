"""The real Unleash server, from npm (demo/npm.py). Its telemetry and version check are off, and it listens on the loopback address only."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo import npm
from demo.npm import Say, to_stderr
from demo.postgres import RunningPostgres, start_postgres
from demo.processes import Running, StartError, answers, start

VERSION: Final = "8.2.0"
PACKAGE: Final = npm.Package(
    name="unleash",
    title="the Unleash server",
    version=VERSION,
    lock=Path(__file__).resolve().parent / "node",
    wanted="unleash-server/dist/server.js",
    size="200 MB, up to a minute",
)


@dataclass(slots=True)
class RunningUnleash:
    """A running server, and the ways in."""

    running: Running
    client_token: str = field(repr=False)
    """For [flags] token: reads flags of the environment "development"."""
    admin_token: str = field(repr=False)
    """For [flags] admin_token."""
    username: str = "admin"
    password: str = field(default="unleash4all", repr=False)

    @property
    def url(self) -> str:
        """The UI."""
        return self.running.url

    @property
    def api_url(self) -> str:
        """For [flags] url."""
        return f"{self.running.url}/api"

    def alive(self) -> bool:
        return self.running.alive()

    def stop(self) -> None:
        self.running.stop(timeout=5.0)


def start_unleash(
    workdir: Path, database: RunningPostgres, *, name: str = "unleash", say: Say = to_stderr, timeout: float = 90.0
) -> RunningUnleash:
    """Starts Unleash over `database`, installing it first where need be. The tokens are made anew; the log is `workdir`/`name`.log.

    Raises:
        StartError: it can't be installed, or did not become healthy.
    """
    program = install(say)
    client_token = f"default:development.{secrets.token_hex(28)}"
    admin_token = f"*:*.{secrets.token_hex(28)}"
    environment = {
        "NODE_ENV": "production",
        "NODE_OPTIONS": "",
        "DATABASE_URL": "",  # the user's own would win over what follows
        "DATABASE_URL_FILE": "",
        "DATABASE_HOST": str(database.socket_dir),
        "DATABASE_PORT": "5432",
        "DATABASE_NAME": database.database,
        "DATABASE_USERNAME": database.user,
        "DATABASE_PASSWORD": "",
        "DATABASE_SSL": "false",
        "HTTP_HOST": "127.0.0.1",
        "INIT_BACKEND_API_TOKENS": client_token,
        "INIT_ADMIN_API_TOKENS": admin_token,
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
        "LOG_LEVEL": "warn",
    }
    attempts = 3
    while True:
        port = _free_port()
        try:
            running = start(
                name,
                [str(npm.node()), str(program)],
                log_dir=workdir,
                port=port,
                env={**environment, "HTTP_PORT": str(port)},
                ready=_healthy,
                timeout=timeout,
            )
        except StartError as error:
            attempts -= 1
            if attempts and "EADDRINUSE" in str(error):
                continue  # somebody took the port in between; Unleash can't be handed a socket
            raise
        return RunningUnleash(running, client_token, admin_token)


@contextmanager
def running_unleash(folder: Path, say: Say = to_stderr) -> Iterator[RunningUnleash]:
    """Unleash over a PostgreSQL of its own, with nothing in it; both logs are in `folder`, and both are stopped in the end.

    Raises:
        StartError: one of them can't be installed, or did not come up.
    """
    database = start_postgres(folder, "unleash")
    try:
        unleash = start_unleash(folder, database, say=say)
        try:
            yield unleash
        finally:
            unleash.stop()
    finally:
        database.stop()


def install(say: Say = to_stderr) -> Path:
    """Unleash's entry point, installed where it is missing. Many processes may ask at once.

    Raises:
        StartError: npm failed. The message ends with what it said.
    """
    return npm.install(PACKAGE, say)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


_healthy = answers("/health")
