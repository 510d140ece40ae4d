"""Files that are odd rather than plainly wrong, and processes that cannot be started for a while: nothing of it outlives its cause."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtensionOID

from demo.processes import ROOT, python
from tests.integration.test_reload import World
from tests.support.certificates import Authority
from tests.support.gateway import Upstream, gateway, ok

GET = b"GET /x HTTP/1.1\r\nHost: shop.test\r\n\r\n"


@asynccontextmanager
async def served(folder: Path, front: str = "", upstreams: str = "") -> AsyncIterator[World]:
    legacy = Upstream(ok)
    await legacy.start()
    try:
        toml = f'[gateway]\naccess_log = "access.log"\n{front}\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n{upstreams}'
        async with gateway(folder, toml) as running:
            yield World(running, legacy, legacy)
    finally:
        await legacy.stop()


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def another_worker(world: World, first: int) -> None:
    """As soon as there is one, and it serves."""
    await until(lambda: world.gateway.workers() not in ([], [first]))
    async with asyncio.timeout(15):
        assert (await world.gateway.request(GET)).status == 200


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("x = " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("x = " + "1" * 5000, "holds a number with too many digits"),
        ('[domains]\norder = ["a\\u0000b"]', "holds a NUL character"),
    ],
    ids=["nested", "digits", "NUL"],
)
async def test_an_odd_configuration_costs_its_own_reload_only(tmp_path: Path, odd: str, said: str) -> None:
    async with served(tmp_path) as world:
        good = world.file.read_text()
        world.write(f"{good}\n{odd}\n")
        status, answer = await world.post("/reload")
        assert status == 422
        assert said in answer["detail"]
        world.write(good)
        os.kill(world.gateway.process.pid, signal.SIGHUP)
        await world.view(lambda view: view["reloads"]["ok"] >= 1)
        assert (await world.gateway.request(GET)).status == 200


async def test_a_configuration_that_is_a_pipe_is_no_wait(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        good = world.file.read_text()
        world.file.unlink()
        os.mkfifo(world.file)
        async with asyncio.timeout(5):
            status, answer = await world.post("/reload")
        assert status == 422
        assert "is not a file" in answer["detail"]
        world.write(good)
        assert (await world.post("/reload"))[0] == 200


async def test_an_empty_authority_costs_its_own_reload_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    upstream = '[upstreams.new]\nurl = "https://127.0.0.1:1"\ntls = { ca = "believed.pem" }\n'
    believed = tmp_path / "believed.pem"
    believed.write_bytes(authority.ca.read_bytes())
    async with served(tmp_path, upstreams=upstream) as world:
        believed.write_bytes(b"")
        status, answer = await world.post("/reload")
        assert status == 422
        assert "upstreams.new.tls.ca: " in answer["detail"]
        believed.write_bytes(authority.ca.read_bytes())
        assert (await world.post("/reload"))[0] == 200


async def test_a_worker_comes_back_though_an_upstreams_files_have_gone_bad(tmp_path: Path) -> None:
    """It gets what they held when they were good, and so the upstream that they are for is spoken to as before."""
    authority = Authority(tmp_path)
    new = Upstream(ok, tls=authority.server("new", "127.0.0.1"))
    await new.start()
    upstream = (
        f'[upstreams.new]\nurl = "https://127.0.0.1:{new.port}"\ntls = {{ ca = "believed.pem" }}\n'
        '[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\nfallback = false\n'
    )
    believed = tmp_path / "believed.pem"
    believed.write_bytes(authority.ca.read_bytes())
    try:
        async with served(tmp_path, "expose_decision = true", upstream) as world:
            (tmp_path / "flags.json").write_text(
                '{"version":1,"features":[{"name":"reviews","enabled":true,"strategies":[{"name":"default","parameters":{}}]}]}'
            )
            believed.write_text("garbage")
            (first,) = world.gateway.workers()
            os.kill(first, signal.SIGKILL)
            await another_worker(world, first)
            for _ in range(40):
                answer = await world.gateway.request(GET.replace(b"/x", b"/reviews/1"))
                if answer.header("Banyan-Route") == "reviews; served-by=candidate; reason=flag":
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(answer)
    finally:
        await new.stop()


def with_odd_names(authority: Authority, folder: Path) -> None:
    """shop.pem, signed as ever, whose subject alternative name is no such thing."""
    certificate, _ = authority.issue("odd", "shop.test")
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    odd = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("30038201ff"))
    builder = x509.CertificateBuilder(
        made.issuer, made.subject, made.public_key(), made.serial_number, made.not_valid_before_utc, made.not_valid_after_utc
    )
    signed = builder.add_extension(odd, critical=False).sign(authority._key, hashes.SHA256())
    (folder / "shop.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "shop.key").write_bytes((folder / "odd.key").read_bytes())


async def test_a_certificate_with_odd_names_is_a_broken_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("shop", "shop.test")
    front = 'tls = { certificate = "shop.pem", key = "shop.key" }'
    async with served(tmp_path, front) as world:
        before = (await world.gateway.connect(authority.client(), "shop.test")).writer.get_extra_info("peercert")["serialNumber"]
        with_odd_names(authority, tmp_path)
        await until(lambda: 'banyan_events_total{event="certificate-broken"} 1.0' in world.gateway.metrics())
        assert "its names cannot be read" in world.gateway.process.log.read_text()
        (first,) = world.gateway.workers()
        os.kill(first, signal.SIGKILL)
        await until(lambda: world.gateway.workers() not in ([], [first]))
        async with asyncio.timeout(15):
            client = await world.gateway.connect(authority.client(), "shop.test")
        assert client.writer.get_extra_info("peercert")["serialNumber"] == before
        assert (await client.request(GET)).status == 200


async def test_a_worker_that_cannot_be_started_is_started_later(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        pid = world.gateway.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        (first,) = world.gateway.workers()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, limits[1]))
        try:
            os.kill(first, signal.SIGKILL)
            await until(lambda: "worker 0 cannot be started" in world.gateway.process.log.read_text())
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        await another_worker(world, first)


async def test_sighup_and_sigterm_during_the_start(tmp_path: Path) -> None:
    config = tmp_path / "banyan.toml"
    config.write_text(
        '[gateway]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nworkers = 1\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n'
    )
    (tmp_path / "flags.json").write_text('{"version": 1, "features": []}')
    process = await asyncio.create_subprocess_exec(
        *python("-m", "gateway.cli", "run", "--config", str(config)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        status = Path(f"/proc/{process.pid}/status")
        # As soon as it has its own answer to SIGTERM, the second thing that it sees to. (That SIGHUP is ignored says nothing: whoever runs
        # these tests behind nohup hands that down.)
        await until(lambda: bool(int(status.read_text().partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1))
        async with asyncio.timeout(20):
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
