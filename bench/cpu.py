"""CPU time of processes, all their threads, in nanoseconds as the scheduler counts them; and the cores that they run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROXY_CORE, LOAD_CORE = 1, 0
"""The proxy under test has a core to itself; load and upstreams share the other."""


def seconds(pids: list[int]) -> float:
    """User and system time that these processes' living threads have used so far."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue  # a thread that ended between the two looks
    return total / 1e9


def system_share(pids: list[int], before: tuple[int, int]) -> float:
    """The share of the CPU time since `before` (from `ticks`) that was spent in the kernel."""
    user, system = (now - then for now, then in zip(ticks(pids), before, strict=True))
    return system / (user + system) if user + system else 0.0


def ticks(pids: list[int]) -> tuple[int, int]:
    """User and system time so far, in ticks of 10 ms."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return user, system


def cores_busy() -> float:
    """CPU seconds that the two cores have spent so far, on whatever program; hypervisors' stolen time is among it."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in {f"cpu{core % (os.cpu_count() or 1)}" for core in (PROXY_CORE, LOAD_CORE)}:
            user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = map(int, numbers)
            total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def pin(pids: list[int], core: int) -> None:
    """Binds all threads of these processes to a core."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), {core % (os.cpu_count() or 1)})
            except ProcessLookupError:
                continue  # a thread that has just ended


@contextmanager
def on(core: int) -> Iterator[None]:
    """What this thread starts meanwhile runs on that core, and stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def ahead() -> Iterator[bool]:
    """What this thread starts meanwhile goes before all that others run on this machine. False: that is not allowed here.

    By the scheduling class (SCHED_RR), because niceness counts within a session only (sched_autogroup), and does not interrupt.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *before)


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # a thread that has just ended
    return found


def title(pid: int) -> str:
    """The process's command line, or the title that it gave itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import platform
    import sysconfig

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        # As it is built by default, and by pyenv: then its own part takes longer than that of the usual images and packages.
        "python": platform.python_version()
        + ("" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else ", built without --enable-optimizations"),
    }
