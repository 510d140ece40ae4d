"""What of the engine's own time goes where: `bench.engine` under valgrind's callgrind, which counts every instruction, whoever disturbs it.

Shares of instructions are not shares of time, but close to it: the engine's code is of one kind, short calls into CPython.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from demo.processes import ROOT
from gateway import compiled

ENTRIES = ("CPyDef_downstream___Downstream___data_received", "CPyDef_upstream___UpstreamConnection___data_received")
"""What the event loop calls: counted from here."""
PARTS = {
    "reading the request's head": ("CPyDef_recurring___Requests___read",),
    "routing and the flag decision": ("CPyDef_decision___Policy___decide", "CPyDef_peer___Peer___context"),
    "a connection, the head that goes upstream": ("CPyDef_outbound___Outbound____send",),
    "reading the answer's head": ("CPyDef_recurring___Responses___read",),
    "the access log": ("CPyDef_access___line", "CPyDef_access___Mask___presentable", "CPyDef_access___AccessLog___write"),
    "metrics": ("CPyDef_tally___RouteTally___finish", "CPyDef_tally___Tally___route"),
}
"""Functions with all that they call; none calls another's."""
_LINE = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+\S*?:(CPyDef_\w+)")
_TOTAL = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+PROGRAM TOTALS", re.MULTILINE)


def shares(file: Path, count: int = 1500) -> dict[str, float] | str:
    """Of the engine's instructions, by part; or why that cannot be said here. `file` is callgrind's own."""
    valgrind, annotate = shutil.which("valgrind"), shutil.which("callgrind_annotate")
    if valgrind is None or annotate is None:
        return "valgrind is not installed (apt-get install valgrind)"
    if compiled.state() != "compiled":
        return f"the engine is {compiled.state()}: its functions cannot be told apart"
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={file}", *(f"--toggle-collect={entry}" for entry in ENTRIES)]
    command += [sys.executable, "-m", "bench.engine", "passthrough", "--count", str(count), "--rounds", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 - our own module
    if ran.returncode:
        return f"valgrind ended with status {ran.returncode}: {ran.stderr.strip().splitlines()[-1:]}"
    command = [annotate, "--inclusive=yes", "--threshold=100", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - valgrind's own
    return split(told.stdout)


def split(annotated: str) -> dict[str, float] | str:
    """The parts and the rest, from what `callgrind_annotate --inclusive=yes` prints."""
    found = _TOTAL.search(annotated)
    if found is None:
        return "callgrind counted nothing"
    total = _number(found[1])
    counted = {match[2]: _number(match[1]) for line in annotated.splitlines() if (match := _LINE.match(line))}
    parts = {part: sum(counted.get(name, 0) for name in names) / total for part, names in PARTS.items()}
    return parts | {"the rest: callbacks, timeouts, framing, objects": 1 - sum(parts.values())}


def _number(text: str) -> int:
    return int(text.replace(",", ""))
