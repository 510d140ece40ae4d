"""The real nginx in front of one upstream, on a unix socket, with access logs of several formats. What is below /items/ may be cached."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import override

from demo.processes import Running, start
from tests.support.required import missing

CONF = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {formats}
  server {{
    listen unix:{socket};
    {logs}
    location /items/ {{ proxy_pass {upstream}; proxy_set_header Host localhost; add_header Cache-Control "public, max-age=60"; }}
    location / {{ proxy_pass {upstream}; proxy_set_header Host localhost; }}
  }}
}}
"""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Nginx:
    """A running one."""

    running: Running
    socket: Path
    folder: Path

    def log(self, name: str) -> Path:
        """The access log of a format."""
        return self.folder / f"{name}.log"

    def ask(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: str | None = None) -> int:
        """The status of the answer."""
        connection = _Connection(self.socket)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def send(self, raw: bytes) -> bytes:
        """Whatever it answers to these bytes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect(str(self.socket))
            client.sendall(raw)
            found = b""
            while data := client.recv(65536):
                found += data
            return found


@contextmanager
def nginx(folder: Path, upstream: str, formats: Mapping[str, str]) -> Iterator[Nginx]:
    """`formats`: `log_format` lines by name; "combined" needs none ("")."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        missing("nginx is not installed (apt-get install nginx-light)")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "s"
    conf = folder / "nginx.conf"
    conf.write_text(
        CONF.format(
            folder=folder,
            socket=place,
            upstream=upstream,
            formats="\n  ".join(line for line in formats.values() if line),
            logs="\n    ".join(f"access_log {folder}/{name}.log {name};" for name in formats),
        )
    )
    running = start("nginx", [str(binary), "-p", str(folder), "-c", str(conf)], log_dir=folder, ready=lambda _: place.exists())
    try:
        yield Nginx(running, place, folder)
    finally:
        running.stop()
