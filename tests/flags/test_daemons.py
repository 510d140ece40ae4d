"""Threads that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from flags import daemons
from flags.daemons import Daemons


def test_a_result_and_an_error_arrive() -> None:
    threads = Daemons("some")
    assert threads.submit(lambda: threading.current_thread().name).result(5) == "some"
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(5)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(print)


def test_the_end_waits_for_what_runs_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "LONGEST", 0.3)
    go = threading.Event()
    threads = Daemons("slow")
    short = threads.submit(time.sleep, 0.1)
    endless = threads.submit(go.wait, 10)
    began = time.monotonic()
    threads.shutdown()
    assert 0.25 < time.monotonic() - began < 2.0
    assert short.done()
    assert not endless.done()
    go.set()
    assert endless.result(5)


def test_a_process_ends_though_a_thread_does_not() -> None:
    program = "import time; from flags.daemons import Daemons; Daemons('x').submit(time.sleep, 60); print('over')"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert child.stdout == "over\n"
