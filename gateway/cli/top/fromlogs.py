"""`banyan top FILE …`: the endpoints of access logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from flags.admin.states import plain
from gateway.cli.shared import RefusalError
from gateway.cli.top.advised import advised

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.endpoints.declared import Declared
    from recorded.lines import Lines
    from recorded.log_format import Format

STDIN: Final = "-"
_TELL_SECONDS: Final = 0.5


def listing(logs: Sequence[str], log_format: str, known: Declared | None, config: Config | None, sort: str) -> dict[str, Any]:
    """What these logs say, as `gateway.endpoints.logged` lists it, with advice.

    Raises:
        RefusalError: a file cannot be opened, or none has a line that can be read.
    """
    from gateway.endpoints import parts
    from gateway.endpoints.logged import TIMED, Log
    from recorded.access_log import Reader
    from recorded.durations import DURATIONS

    form = _form(log_format)
    log = Log(known, tuple(route.match for route in config.routes) if config is not None else ())
    reader = Reader(form)
    progress = Progress()
    with ExitStack() as stack:
        named = [(name, _opened(name, stack)) for name in logs]
        try:
            parts.read(log, reader, form, _each(named), progress.tell)
        except parts.WorkerError as error:
            raise RefusalError(str(error), 1) from None
        finally:
            progress.end()
    troubles = log.troubles
    found = log.listing(order="time" if sort == "next" else sort, limit=10**9)
    if troubles.count and not found["total"]["requests"]:
        why, _ = troubles.kinds.most_common(1)[0]
        raise RefusalError(f"none of {log.lines:,} lines can be read; of most, {_helped(why)}")
    found |= {
        "source": "log",
        "logs": list(logs),
        "lines": log.lines,
        "first": log.first,
        "last": log.last,
        "durations": {what: {"lines": count, "what": DURATIONS[what]} for what, count in reader.durations.items()},
        "troubles": {
            "lines": troubles.count,
            "kinds": [{"why": _helped(why), "lines": count, "first": troubles.lines[why]} for why, count in troubles.kinds.most_common()],
        },
        "unasked": known.unasked(one["template"] for one in found["endpoints"]) if known is not None else None,
    }
    return advised(found, config, sort if found["timed"] >= TIMED or sort != "time" else "requests")


def _helped(why: str) -> str:
    """With what can be done about it here."""
    from recorded.access_log import UNKNOWN

    return f"{why} (--log-format names another)" if why == UNKNOWN else why


def _form(text: str) -> Format | None:
    from recorded.log_format import Format, FormatError

    if not text:
        return None
    try:
        return Format.parse(text)
    except FormatError as error:
        raise RefusalError(f"--log-format: {error}") from None


def _opened(name: str, stack: ExitStack) -> BinaryIO:
    if name == STDIN:
        return sys.stdin.buffer
    try:
        file = Path(name).open("rb", buffering=0)  # noqa: SIM115 - the stack closes it; Lines reads in blocks
    except OSError as error:
        raise RefusalError(f"{name} can't be read: {error.strerror or error}") from None
    return cast("BinaryIO", stack.enter_context(file))


def _each(named: Sequence[tuple[str, BinaryIO]]) -> Iterator[tuple[str, Lines]]:
    from recorded.lines import Lines

    for name, stream in named:
        yield name, Lines(stream)


class Progress:
    """On standard error, where somebody watches."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._next = time.monotonic() + _TELL_SECONDS
        self._told = False

    def tell(self, name: str, done: int) -> None:
        """So many bytes of lines are read."""
        if self._watched and (now := time.monotonic()) >= self._next:
            self._next = now + _TELL_SECONDS
            self._told = True
            print(f"\r\x1b[Kreading {plain(name)}: {done / 2**20:,.0f} MiB", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing of it stays."""
        if self._told:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
