"""What a server that does not come up leaves behind: a message that says why, and no process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo.processes import NotReadyError, Running, StartError, answers, listen, python, start

SERVER = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()
sock = socket.socket(fileno=int(sys.argv[1]))
server = http.server.HTTPServer(sock.getsockname(), Handler, bind_and_activate=False)
server.socket = sock
server.serve_forever()
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_ready_as_soon_as_it_answers_without_an_error(tmp_path: Path) -> None:
    running = start("up", python("-c", SERVER, "{fd}"), log_dir=tmp_path, sock=listen(), ready=answers("/404"))
    try:
        with pytest.raises(NotReadyError, match=r"^GET /503 was answered 503$"):
            answers("/503")(running)
    finally:
        running.stop()
    assert gone(running.pid)
    with pytest.raises(NotReadyError, match=r"^GET / ended with ConnectionRefusedError"):
        answers()(running)


def test_what_ends_says_how_and_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^brief exited with status 3\. The last lines of its log:\nlast words$"):
        start("brief", python("-c", "print('last words'); raise SystemExit(3)"), log_dir=tmp_path, ready=lambda _: False)


def test_what_hangs_says_that_it_runs_and_how_it_was_asked(tmp_path: Path) -> None:
    pids = []
    look = answers()

    def ready(running: Running) -> bool:
        pids.append(running.pid)
        return look(running)

    says = (
        r"^late runs(, after \d+\.\d s of CPU)?, but was not ready within 0\.1 s: GET / ended with TimeoutError \(timed out\)\. "
        r"Its log is empty \(.*/late\.log\)$"
    )
    with pytest.raises(StartError, match=says):
        start("late", python("-c", "import time; time.sleep(600)"), log_dir=tmp_path, sock=listen(), ready=ready, timeout=0.1)
    assert gone(pids[0])
