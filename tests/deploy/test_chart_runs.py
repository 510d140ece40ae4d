"""A real gateway by the chart's banyan.toml: its probes, its hook, its proxy for metrics. Only addresses are adapted; and of what it has in
a cluster, Unleash, NATS, PostgreSQL and legacy, nothing is there."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.processes import Running, answers, listen, start
from tests.support.deploying import adapted, configuration, container, of_kind, pods, rendered, secrets_for
from tests.support.placed import AWAY, Placed, said, until
from tests.support.required import missing

CHANGED = f"""
[upstreams.added]
url = "http://{AWAY}"

[[routes]]
name = "added"
match = "/added/*"
candidate = "added"
"""
ADDRESSES = {
    '"0.0.0.0:8080"': '"127.0.0.1:0"',
    '"127.0.0.1:9900"': '"127.0.0.1:0"',
    "http://unleash:4242": f"http://{AWAY}",
    "@postgres:5432": f"@{AWAY}",
    "http://legacy:8000": f"http://{AWAY}",
    "nats://nats:4222": f"nats://{AWAY}",
}


class Mount:
    """A ConfigMap as the kubelet mounts it: a link to a folder, which is swapped as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()
        (folder / "banyan.toml").symlink_to("..data/banyan.toml")

    def put(self, text: str) -> None:
        self._count += 1
        (self.folder / f"..{self._count}").mkdir()
        (self.folder / f"..{self._count}" / "banyan.toml").write_text(text)
        (self.folder / "..data_tmp").symlink_to(f"..{self._count}")
        (self.folder / "..data_tmp").replace(self.folder / "..data")


def asked(port: int, method: str, path: str) -> tuple[int, str]:
    """Status and body; `path` goes as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def exporting(found: list[dict[str, Any]], admin: str, folder: Path) -> Iterator[Running]:
    """The gateway pod's second container."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("haproxy is not here: apt-get install haproxy")
    own = container(pods(found)["gateway"], "exporter")
    sock = listen()
    port = own["ports"][0]["containerPort"]
    text = of_kind(found, "ConfigMap")["exporter"]["data"]["haproxy.cfg"]
    (folder / "haproxy.cfg").write_text(adapted(text, {f"bind :{port}": f"bind fd@{sock.fileno()}", "127.0.0.1:9900": admin}))
    name, *arguments = own["args"]
    assert name == "haproxy"
    command = [program, *(str(folder / "haproxy.cfg") if each == "/etc/exporter/haproxy.cfg" else each for each in arguments)]
    running = start("exporter", command, log_dir=folder, sock=sock, ready=answers("/metrics"))
    try:
        yield running
    finally:
        running.stop()


def test_a_pod_from_its_start_to_its_end(tmp_path: Path) -> None:
    found = rendered({"gateway": {"workers": 1, "leaveSeconds": 1, "drainSeconds": 2}})
    pod = pods(found)["gateway"]
    own = container(pod, "gateway")
    text = adapted(configuration(found), ADDRESSES)
    placed = Placed(tmp_path, secrets_for(text))
    mount = Mount(tmp_path / "etc")
    mount.put(text)
    placed.configure(mount.folder)

    running = placed.start("gateway", own["args"], lambda running: "serving on" in running.log.read_text())
    try:
        admin = said(running, r"admin on (\S+)")[1]

        def probe(kind: str) -> int:
            return placed.execute(own[kind]["exec"]["command"], BANYAN_ADMIN=admin).returncode

        assert [probe(kind) for kind in ("startupProbe", "readinessProbe", "livenessProbe")] == [0, 0, 0]

        with exporting(found, admin, tmp_path) as exporter:
            status, body = asked(exporter.port, "GET", "/metrics")
            assert status == 200
            assert "\nbanyan_requests_in_flight{" in body
            for path in ("/config", "/flags", "/metrics/", "/metrics/../config", "/%6detrics", "/healthz"):
                assert asked(exporter.port, "GET", path)[0] == 404, path
            for path in ("/metrics", "/drain", "/reload"):
                assert asked(exporter.port, "POST", path)[0] == 404, path
        assert probe("readinessProbe") == 0

        mount.put(text + CHANGED)

        def routes() -> list[str]:
            answer = placed.execute(["banyan-ask", "GET", "/routes", admin])
            return [route["name"] for route in json.loads(answer.stdout)["routes"]]

        until(lambda: "added" in routes(), "the new ConfigMap is in force")

        hook = placed.execute(own["lifecycle"]["preStop"]["exec"]["command"], BANYAN_ADMIN=admin)
        assert hook.returncode == 0
        assert json.loads(hook.stdout)["status"] == "draining"
        assert probe("readinessProbe") == 1  # no more requests are sent here …
        assert probe("livenessProbe") == 0  # … and nobody restarts it for that
        assert running.stop(timeout=pod["spec"]["terminationGracePeriodSeconds"] - 1) == 0, running.tail()
        assert "Traceback" not in running.log.read_text()
    finally:
        running.stop()


def test_a_probe_of_a_pod_that_has_ended_fails(tmp_path: Path) -> None:
    own = container(pods(rendered({}))["gateway"], "gateway")
    placed = Placed(tmp_path, {})
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert placed.execute(own[kind]["exec"]["command"], BANYAN_ADMIN=AWAY).returncode == 1
