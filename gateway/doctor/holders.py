"""Which process listens on a TCP port: from /proc, as ss(8) finds it. Elsewhere than on Linux nobody is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
"""include/net/tcp_states.h: TCP_LISTEN."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process."""

    pid: int
    title: str
    """Its command line as it shows it, cut: "banyan: supervisor", "/usr/sbin/nginx"; never its arguments, which may hold anything."""

    @property
    def ours(self) -> bool:
        """It calls itself a part of a gateway."""
        return self.title.startswith("banyan")


def holders(port: int) -> list[Holder]:
    """Those that this user may see; [] where there are none, or they are somebody else's."""
    wanted = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _inodes(Path("/proc/net") / name, port)}
    if not wanted:
        return []
    processes = sorted((each for each in Path("/proc").iterdir() if each.name.isdigit()), key=lambda each: int(each.name))
    return [Holder(int(process.name), _title(process)) for process in processes if _has(process, wanted)]


def _inodes(table: Path, port: int) -> list[str]:
    """Of the sockets that listen on this port (proc_net_tcp: local address, state in the 4th column, inode in the 10th)."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if len(row) > 9 and row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _has(process: Path, wanted: set[str]) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                if str(descriptor.readlink()) in wanted:
                    return True
            except OSError:
                continue  # closed in the meantime
    except OSError:
        pass  # it has ended, or is not ours to see
    return False


def _title(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes()
        name = (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process that has ended"
    # A process that renamed itself (setproctitle) has one text; another one's first word is its program.
    first = command.split(b"\0")[0].decode(errors="replace").strip()
    shown = first if first.startswith("banyan") else name
    return "".join(character if character.isprintable() else "?" for character in shown)[:60]
