"""`python -m bench.open_loop PORT RATE SECONDS`: requests at the times that were planned, whatever became of those before.

Invariant: request number n has its time, n / RATE after the beginning, and its latency is counted from then, also where it could only be
sent later because every connection was still waiting. Counted from the sending, a stall would delay the very requests that should have
seen it, and each of these would look quick (coordinated omission).

Its own epoll loop with a timerfd, because event loops' timers are in milliseconds: requests would come in bursts and wait for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import select
import socket
import sys
import time

from bench.load import BODIES, request

CONNECTIONS = 64


def percentile(values: list[float], share: float) -> float:
    """The smallest of the sorted `values` that `share` of them do not exceed. 0.0 of none."""
    if not values:
        return 0.0
    return values[max(0, -int(-len(values) * share // 1) - 1)]


class OpenLoop:
    """One run."""

    def __init__(self, port: int, rate: float, seconds: float, connections: int = CONNECTIONS) -> None:
        self.count = int(rate * seconds)
        self.spacing = 1 / rate
        self.latencies: list[float] = []
        self.wrong = 0
        self.most_waiting = 0
        """Requests whose time had come while every connection was busy."""
        self._poll = select.epoll()
        self._timer = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK)
        self._poll.register(self._timer, select.EPOLLIN)
        self._socks: dict[int, socket.socket] = {}
        self._sessions: dict[int, bytes] = {}
        self._busy: dict[int, int] = {}
        """The number of the request that a connection carries."""
        self._parts: dict[int, bytes] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._socks[sock.fileno()] = sock
            self._sessions[sock.fileno()] = secrets.token_hex(12).encode()
            self._poll.register(sock, select.EPOLLIN)

    def run(self) -> None:
        """Until all are answered, or 10 s after the last had its time."""
        idle = list(self._socks)
        began = time.monotonic() + 0.05
        sent = 0
        patience = began + self.count * self.spacing + 10
        while len(self.latencies) < self.count and not self.wrong:
            now = time.monotonic()
            if now > patience:
                return
            while sent < self.count and idle and began + sent * self.spacing <= now:
                fd = idle.pop()
                self._busy[fd] = sent
                self._socks[fd].send(request(sent, self._sessions[fd]))
                sent += 1
            if sent < self.count and idle:
                due = int((began + sent * self.spacing) * 1e9)
                os.timerfd_settime_ns(self._timer, flags=os.TFD_TIMER_ABSTIME, initial=due)
            elif sent < self.count:
                self.most_waiting = max(self.most_waiting, int((now - began) / self.spacing) - sent)
            for fd, _ in self._poll.poll(1.0):
                if fd == self._timer:
                    try:
                        os.read(fd, 8)
                    except BlockingIOError:
                        pass  # set anew meanwhile
                elif self._read(fd, began):
                    idle.append(fd)

    def _read(self, fd: int, began: float) -> bool:
        """True: the answer is whole."""
        data = self._socks[fd].recv(65536)
        number = self._busy.get(fd)
        if not data or number is None:
            self.wrong += 1
            return False
        if fd in self._parts:
            data = self._parts.pop(fd) + data
        wanted = BODIES[number % 7]
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or len(data) < end + len(wanted):
            self._parts[fd] = data
            return False
        if not data.startswith(b"HTTP/1.1 200 ") or data[end:] != wanted:
            self.wrong += 1
        self.latencies.append(time.monotonic() - began - number * self.spacing)
        del self._busy[fd]
        return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    load = OpenLoop(given.port, given.rate, given.seconds)
    load.run()
    if load.wrong or len(load.latencies) < load.count:
        sys.exit(f"{load.wrong} wrong answers, {load.count - len(load.latencies)} of {load.count} without one")
    load.latencies.sort()
    told = {f"p{share:g}": percentile(load.latencies, share / 100) for share in (50, 99, 99.9)}
    # With its start: what this process takes of the core must not be taken for a stranger's.
    json.dump(told | {"count": load.count, "most_waiting": load.most_waiting, "cpu": time.process_time()}, sys.stdout)


if __name__ == "__main__":
    main()
