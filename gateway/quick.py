"""How this project's processes begin and end quickly.

A gateway is at least three of them, and of what its start and its end cost a fifth was Python's own housekeeping: 0.25 s of CPU of 1.2 s
(measured).
"""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


@contextmanager
def importing() -> Iterator[None]:
    """While modules are imported nothing is collected: what they make stays, and to walk it again and again takes a twelfth of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def bare(package: str) -> None:
    """Has `package` stand without what its `__init__` would load: for a process that uses some of its modules alone.

    Raises:
        ModuleNotFoundError: there is none.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    sys.modules.setdefault(package, importlib.util.module_from_spec(spec))


def absent(module: str) -> None:
    """Has `module`, which nobody has imported yet, be one that is not there: another package imports it if it can, and nobody needs it."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type] # what the import system knows as "there is none"


HTTPX_COMMAND = "httpx._main"
"""The command line of httpx, which its package loads where rich and click happen to be there, with both: more than the rest of httpx."""


def leave(status: int) -> NoReturn:
    """Ends this process, without Python taking each of its objects apart first: that takes 0.05 s of CPU after few imports, 0.25 s after
    many. For processes that have closed what has to be closed: no `__del__` is called and no file that is still open is written out. What
    was registered with atexit is done, and where another thread has still to end, all goes as ever."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread() and not thread.daemon]
    if others:
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to have them called, and multiprocessing's children end by them
    for each in (sys.stdout, sys.stderr):
        if each is not None:  # the process was started without it
            with suppress(OSError, ValueError):  # whoever read it is gone, or it was closed here
                each.flush()
    os._exit(status)
