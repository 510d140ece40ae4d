"""Reads a page's commands, and what it says that they print; and a shell that runs them one block after the other, as a reader would."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A block of commands, and the lines that the page says come of it; … stands for anything."""

    commands: str
    printed: tuple[str, ...] = ()


def steps(page: str) -> list[Step]:
    """The ```sh blocks in their order; a ```text block belongs to the one before it."""
    found: list[Step] = []
    for kind, body in _FENCE.findall(page):
        if kind == "sh":
            found.append(Step(body))
        elif kind == "text":
            found[-1] = Step(found[-1].commands, tuple(line for line in body.splitlines() if line.strip()))
    return found


def unseen(printed: tuple[str, ...], output: str) -> list[str]:
    """Those lines that are not in `output`, in their order. How wide a blank is does not count: it goes by what stands around it."""
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    missing = []
    for wanted in printed:
        pattern = re.compile(".*".join(re.escape(part) for part in " ".join(wanted.split()).split("…")))
        if not any(pattern.fullmatch(line) for line in lines):
            missing.append(wanted)
    return missing


class ShellError(AssertionError):
    """A command failed, or took too long. The message has what was printed."""


class Shell:
    """bash, as a session: what one block sets or starts in the background is there in the next."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        # In a session of its own, so that all it started can be ended with it, and nothing else.
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            time.sleep(0.2)
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def run(self, commands: str, within: float) -> str:
        """What they print.

        Raises:
            ShellError: one of them failed, and those after it were not run; or `within` seconds were not enough.
        """
        assert self._process.stdin is not None
        self._count += 1
        mark = f"--- end of block {self._count}: "
        # The first that fails is the last. One that goes on in the background is as good as done.
        lines = [line for line in commands.splitlines() if line.strip()]
        script = "exit_of_block=0\n"
        for line in lines:
            script += f"{line}\n" if line.endswith("&") else f"if [ $exit_of_block = 0 ]; then {line}\nexit_of_block=$?; fi\n"
        script += f'printf "%s%s\\n" "{mark}" "$exit_of_block"\n'
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        output = self._until(mark, within)
        text, _, rest = output.partition(mark)
        if rest.strip() != "0":
            raise ShellError(f"{commands}\nended with status {rest.strip()}:\n{_end(text.encode())}")
        return text

    def _until(self, mark: str, within: float) -> str:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        seen = b""
        deadline = time.monotonic() + within
        while not re.search(rb"%s\d+\n" % re.escape(mark).encode(), seen):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise ShellError(f"not done within {within:g} s:\n{_end(seen)}")
            more = os.read(out, 65536)
            if not more:
                raise ShellError(f"the shell ended:\n{_end(seen)}")
            seen += more
        return seen.decode(errors="replace")


def _end(output: bytes) -> str:
    return output.decode(errors="replace")[-4000:]
