"""The shop as a cluster runs it: a container that is asked again and again whether it lives, and started anew when it does not say so.

The probe is Kubernetes' own in everything but its haste: an HTTP GET to the shop itself, past any gateway, which fails after a second;
after three that failed in a row the container is killed and started again. It is asked every second, where Kubernetes' default is ten, so
that half a minute shows what there takes five. A container that has just been started has some seconds before it is asked; and it has the
crowd before it at once, as there it has the one that its neighbours could not take.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo.processes import ROOT, Running, StartError, answers, listen, python, start

PERIOD_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = 1.0
FAILURES: Final = 3
"""In a row."""
INITIAL_SECONDS: Final = 5.0
"""After a start, before it is asked."""
FREE_SECONDS: Final = 5.0
"""Within which a killed container's port is free."""


def healthy(port: int, path: str = "/healthz") -> bool:
    """One look."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Probe:
    """Looks at one port until it is stopped. `failed` is called after FAILURES in a row, and may take as long as it likes."""

    port: int
    failed: Callable[[], None]
    failures: int = 0
    """Looks that failed, all together."""
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """In a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"probe {self.port}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Waits for what is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)

    def _run(self) -> None:
        row = 0
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD_SECONDS, time.monotonic())
            self.looks += 1
            if healthy(self.port):
                row = 0
                continue
            self.failures += 1
            row += 1
            if row >= FAILURES:
                row = 0
                self.failed()
                due = time.monotonic() + INITIAL_SECONDS


def _listening(port: int) -> socket.socket:
    """On the port of a process that was just killed: its children have it for a moment longer."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        try:
            return listen(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Pod:
    """A shop on a port that stays the same. `threads`: requests that it answers at once; `query_ms`: what is added to each query."""

    def __init__(self, folder: Path, *, threads: int, query_ms: int) -> None:
        self.folder = folder
        self.restarts: list[float] = []
        """When it was killed, of time.monotonic()."""
        self.trouble = ""
        """Why it could not be started again."""
        self._threads = threads
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "legacy_django.settings",
            "BANYAN_SHOP_VAR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'shop.sqlite3'}",
            "BANYAN_SHOP_PASSWORD_ITERATIONS": "1000",
            "BANYAN_SHOP_QUERY_MS": str(query_ms),
        }
        self._sock: socket.socket | None = listen()
        self.port: int = self._sock.getsockname()[1]
        self.process: Running | None = None
        self._probe: Probe | None = None

    def begin(self) -> None:
        """Seeds it and starts it.

        Raises:
            StartError: one of them failed.
        """
        seeding = python("legacy_django/manage.py", "seed")
        environment = {**os.environ, **self._environment}
        done = subprocess.run(  # noqa: S603 - the command is this project's own
            seeding, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise StartError(f"seeding the shop failed with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        self._start(answers("/healthz"))

    def watch(self) -> None:
        """From now on it is probed, and started anew when it seems dead."""
        self._probe = Probe(self.port, self._restart)
        self._probe.begin()

    def unwatch(self) -> int:
        """No longer. Returns how many probes failed."""
        probe, self._probe = self._probe, None
        if probe is None:
            return 0
        probe.end()
        return probe.failures

    def renew(self) -> None:
        """As new, before it is used by somebody else.

        Raises:
            StartError: it did not come up.
        """
        self.end()
        self._start(answers("/healthz"))
        self.restarts = []

    def end(self) -> None:
        """Ends it, and the probe."""
        self.unwatch()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self.process is not None:
            self.process.kill()
            self.process = None

    def _start(self, ready: Callable[[Running], bool] | None) -> None:
        # As the shop's own configuration, but with one process: threads wait for the database as well as processes would.
        command = python(
            "-m", "gunicorn", "--config", "python:legacy_django.gunicorn_config", "--bind", "fd://{fd}",
            "--workers", "1", "--threads", str(self._threads), "legacy_django.wsgi",
        )  # fmt: skip
        sock, self._sock = self._sock or _listening(self.port), None
        self.process = start("shop", command, log_dir=self.folder, sock=sock, env=self._environment, ready=ready)

    def _restart(self) -> None:
        self.restarts.append(time.monotonic())
        if self.process is not None:
            self.process.kill()
        try:
            self._start(None)
        except OSError as error:
            self.trouble = f"the shop could not be started again: {error}"
