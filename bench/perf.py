"""What a process is doing, asked of Linux' perf, where it is installed and allowed: shares of its CPU time by where it is spent."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

PLACES = {
    "libpython": "CPython",
    "python3": "CPython",
    "edge__mypyc": "engine, compiled",
    "loop.cpython": "uvloop",
    "libc.so": "libc",
    "ld-linux": "libc",
    "libm.so": "libc",
    "libpthread": "libc",
}
"""The library that the time is spent in, and how it is called here."""
CALLS = {
    "write": "kernel, write",
    "writev": "kernel, write",
    "sendmsg": "kernel, write",
    "sendto": "kernel, write",
    "read": "kernel, read",
    "recvfrom": "kernel, read",
    "epoll_pwait": "kernel, wait for events",
    "epoll_wait": "kernel, wait for events",
}


def shares(pid: int, file: Path, work: Callable[[], object]) -> dict[str, float] | str:
    """Of the samples while `work` was done, greatest first; or why there are none. `file` is perf's own."""
    binary = shutil.which("perf")
    if binary is None:
        return "perf is not installed (apt-get install linux-perf)"
    command = [binary, "record", "-q", "-g", "-e", "cpu-clock", "-F", "1999", "-o", str(file), "-p", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as recorder:  # noqa: S603 - perf
        try:
            work()
        finally:
            if recorder.poll() is None:
                recorder.send_signal(signal.SIGINT)
            _, said = recorder.communicate(timeout=30)
    read = subprocess.run(  # noqa: S603 - perf
        [binary, "script", "-i", str(file), "-F", "ip,sym,dso"], capture_output=True, text=True, timeout=120, check=False
    )
    counts = count(read.stdout)
    total = counts.total()
    return {place: number / total for place, number in counts.most_common()} if total else f"perf saw nothing: {said.strip()}"


def count(script: str) -> Counter[str]:
    """Samples by place, from what `perf script -F ip,sym,dso` prints: a block of lines for each, innermost frame first."""
    counts: Counter[str] = Counter()
    for block in script.split("\n\n"):
        frames = [line.split(maxsplit=1)[1] for line in block.splitlines() if len(line.split(maxsplit=1)) == 2]
        if frames:
            counts[_place(frames)] += 1
    return counts


def _place(frames: list[str]) -> str:
    if "[kernel" not in frames[0] and "[unknown]" not in frames[0].split()[0]:
        library = frames[0].rpartition("/")[2]
        return next((name for begin, name in PLACES.items() if library.startswith(begin)), "other libraries")
    for frame in frames:
        symbol = frame.split()[0].partition("+")[0]
        for prefix in ("__x64_sys_", "ksys_", "__sys_", "__arm64_sys_"):
            if symbol.startswith(prefix):
                return CALLS.get(symbol.removeprefix(prefix), "kernel, other")
    return "kernel, other"
