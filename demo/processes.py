"""Starts real servers for the demo, the drills and the tests, and stops exactly those.

No port needs to be free beforehand: `listen` binds port 0 and hands the listening socket to the child by inheritance, so that nothing can
take the port in between. The parent then closes its own copy: once the child is dead, a connection to the port is refused.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class StartError(RuntimeError):
    """A server did not come up. The message ends with the last lines of its log."""


class NotReadyError(Exception):
    """What `ready` may raise instead of saying no: why."""


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A listening, inheritable TCP socket; its port is `sock.getsockname()[1]`. Port 0 picks a free one."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


@dataclass(slots=True)
class Running:
    """A child in its own process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def kill(self) -> None:
        """SIGKILL to the whole group: the way a machine dies."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, then SIGKILL after `timeout` seconds. Returns the exit status."""
        if self.process.poll() is None:
            self._signal(signal.SIGTERM, group=False)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        self._signal(signal.SIGKILL)  # children that outlived their parent, if any
        return self.process.wait()

    def _signal(self, number: signal.Signals, *, group: bool = True) -> None:
        try:
            if group:
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)
        except ProcessLookupError:
            pass


def start(
    name: str,
    argv: Sequence[str],
    *,
    log_dir: Path,
    sock: socket.socket | None = None,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    ready: Callable[[Running], bool] | None = None,
    timeout: float = 30.0,
) -> Running:
    """Starts `argv`, with `{fd}` and `{port}` replaced by those of `sock`, and waits until `ready` says yes.

    `env` is added to this process's environment. `sock` is closed here once the child has it.

    Raises:
        StartError: it exited, or was not ready within `timeout` seconds. The message says what it was doing as far as can be seen.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{name}.log"
    fds: tuple[int, ...] = ()
    if sock is not None:
        port = sock.getsockname()[1]
        fds = (sock.fileno(),)
    command = [part.replace("{fd}", str(fds[0] if fds else "")).replace("{port}", str(port)) for part in argv]
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - the commands are this project's own
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            pass_fds=fds,
            start_new_session=True,
        )
    if sock is not None:
        sock.close()
    running = Running(name, process, log, port)
    deadline = time.monotonic() + timeout
    while ready is not None:
        if not running.alive():
            raise StartError(f"{name} exited with status {process.returncode}. {_last_words(running)}")
        why = ""
        try:
            if ready(running):
                break
        except NotReadyError as error:
            why = f": {error}"
        if time.monotonic() > deadline:
            spent = _spent(running.pid)
            running.kill()
            raise StartError(f"{name} runs{spent}, but was not ready within {timeout:g} s{why}. {_last_words(running)}")
        time.sleep(0.02)
    return running


def _last_words(running: Running) -> str:
    said = running.tail()
    return f"The last lines of its log:\n{said}" if said else f"Its log is empty ({running.log})"


def _spent(pid: int) -> str:
    """On what CPU time: next to nothing means that it waits, about all of the time that it works."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""  # a system without /proc
    return f", after {(int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK'):.1f} s of CPU"


def answers(path: str = "/") -> Callable[[Running], bool]:
    """Ready when GET `path` gives any status below 500."""
    import http.client

    def check(running: Running) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=2)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise NotReadyError(f"GET {path} ended with {type(error).__name__} ({error})") from error
        finally:
            connection.close()
        if status >= 500:
            raise NotReadyError(f"GET {path} was answered {status}")
        return True

    return check


def python(*arguments: str) -> list[str]:
    """This interpreter with `arguments`."""
    return [sys.executable, *arguments]
