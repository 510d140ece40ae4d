"""What the exported configuration says of the places around Envoy: upstreams over TLS, the gateway behind it; and Envoy takes all of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import orjson
import pytest

from tests.support.certificates import Authority
from tests.support.envoy import binary
from tests.support.exported import answering, beside, export, pair, request, rollout, serving
from tests.support.gateway import Upstream

pytestmark = pytest.mark.asyncio

SECURE = """
[gateway]
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
[upstreams.new]
url = "https://127.0.0.1:{new}"
tls = {{ ca = "{ca}", server_name = "new.test" }}
[upstreams.other]
url = "https://127.0.0.1:{new}"
tls = {{ ca = "{ca}", server_name = "other.test" }}
[upstreams.stranger]
url = "https://127.0.0.1:{new}"
tls = {{ ca = "{stranger}", server_name = "new.test" }}
[[routes]]
name = "new"
match = "/new/*"
candidate = "new"
[[routes]]
name = "other"
match = "/other/*"
candidate = "other"
[[routes]]
name = "stranger"
match = "/stranger/*"
candidate = "stranger"
"""


async def test_an_upstream_over_tls_is_verified(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    new = Upstream(answering("new"), tls=authority.server("new", "new.test"))
    async with serving(legacy=Upstream(answering("legacy")), new=new) as upstreams:
        ports = {name: each.port for name, each in upstreams.items()}
        toml = SECURE.format(ca=authority.ca, stranger=stranger.ca, **ports)
        flags = dict.fromkeys(("new", "other", "stranger"), rollout(100))
        async with beside(tmp_path, upstreams, toml, flags, "--give-up", "fallback") as (both, told):
            assert not told["refused"]
            ours, theirs = await both.both(request("GET /new/1"))
            assert (ours.status, theirs.status) == (200, 200)
            assert orjson.loads(theirs.body)["fields"] == orjson.loads(ours.body)["fields"]
            before = len(new.requests)
            for path in ("/other/1", "/stranger/1"):
                assert (await both.ask(both.envoy, request(f"GET {path}"))).status == 503
            assert len(new.requests) == before


async def test_what_clients_say_of_themselves_does_not_get_past_envoy_to_a_gateway_that_trusts_it(tmp_path: Path) -> None:
    told = ["X-Forwarded-For: 192.0.2.9", "Forwarded: for=192.0.2.9", "X-Real-IP: 192.0.2.9", "X-Forwarded-Host: evil.test"]
    told += ["X-Forwarded-Proto: https", "X-Request-ID: evil", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
    raw = request("GET /elsewhere", *told, "Banyan-Timeout-Ms: 0", "tracestate: evil=1")
    async with pair(tmp_path, '"127.0.0.1/32"') as both:
        trusting, heard = await both.both(raw)
        assert b"192.0.2.9" in trusting.body or trusting.status == 504  # who is trusted is believed: the test would see it
        assert heard.status == 200
        said = orjson.loads(heard.body)
        assert said["via"] == ["1.1 banyan"]
        for evil in (b"192.0.2.9", b"evil", b"0af7651916cd43dd8448eb211c80319c"):
            assert evil not in heard.body
        assert said["fields"]["X-Forwarded-Proto"] == ["http"]
        assert said["fields"]["X-Forwarded-For"][0] == "127.0.0.1"


EVERYTHING = """
[upstreams]
legacy = "http://127.0.0.1:8001"
plain = {{ url = "http://plain.test:8101", health = {{ path = "/healthz", host = "plain.test" }} }}
[upstreams.secure]
urls = ["https://127.0.0.1:8443", "https://127.0.0.2:8443"]
tls = {{ ca = "{ca}", certificate = "{certificate}", key = "{key}", server_name = "secure.test" }}
[upstreams.socket]
url = "unix:/run/banyan-test.sock"
[[routes]]
name = "a"
match = "/a/{{x}}/*"
candidate = "secure"
rewrite = "/b/{{x}}/*"
host = "secure.test"
[[routes]]
name = "b"
match = "/b/*"
methods = ["GET", "POST", "PUT"]
candidate = "plain"
[[routes]]
name = "c"
match = "/c"
candidate = "socket"
"""


async def test_envoy_takes_all_that_can_be_said(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("own", "own.test")
    toml = EVERYTHING.format(ca=tmp_path / "authority.pem", certificate=certificate, key=key)
    (tmp_path / "banyan.toml").write_text(toml)
    states = {"a": 100, "b": 5, "b.shadow": 100, "c": 100, "c.shadow": 3}
    features = [{"name": name, "enabled": True, "strategies": [rollout(share)]} for name, share in states.items()]
    (tmp_path / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    for more in ([], ["--rest", "legacy", "--give-up", "encoded-paths"]):
        done = await asyncio.to_thread(export, tmp_path, "--give-up", "fallback", *more)
        assert done.returncode == 0, done.stderr
        config = tmp_path / "envoy.yaml"
        config.write_text(done.stdout)
        command = [binary(), "--mode", "validate", "-c", str(config)]
        checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stderr[-2000:]
        assert "deprecated" not in checked.stderr.lower()
