"""A real nats-server with JetStream, on a port of its own, its store in the test's folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.js import JetStreamContext

from demo.processes import NotReadyError, Running, start
from tests.support.required import missing

SERVER = Path(sys.executable).with_name("nats-server")


@dataclass
class Nats:
    """One server. It may be killed, frozen and started again on the same port."""

    folder: Path
    options: str
    running: Running
    port: int

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.running.kill()

    def restart(self) -> None:
        """As it was, with what its store holds."""
        self.running, self.port = _start(self.folder, self.options, self.port)

    def freeze(self) -> None:
        os.kill(self.running.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.running.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.running.alive():
            self.thaw()
        self.running.stop()

    def ask[Answer](self, question: Callable[[JetStreamContext], Awaitable[Answer]]) -> Answer:
        """What `question` finds out on a connection of its own."""

        async def run() -> Answer:
            client = await nats.connect(self.url, allow_reconnect=False)
            try:
                return await question(client.jetstream(timeout=5))
            finally:
                await client.close()

        return asyncio.run(run())


class Deaf:
    """A way to a server on which, for a while, nothing that the server says comes through: it hears, and is not heard."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.on = False
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, forth, deaf=False), self._pass(back, writer, deaf=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, deaf: bool) -> None:
        try:
            while data := await reader.read(65536):
                if not (deaf and self.on):
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def start_nats(folder: Path, options: str = "", *, jetstream: bool = True) -> Nats:
    """A server with its store below `folder`. `options`: more of its configuration. Skips or fails the test where there is none."""
    if not SERVER.exists():
        missing("no nats-server here: install Banyan with its extra `demo`")
    folder.mkdir(parents=True, exist_ok=True)
    if jetstream:
        options += f'\njetstream {{ store_dir: "{folder}/store" }}'
    running, port = _start(folder, options, -1)
    return Nats(folder, options, running, port)


def _start(folder: Path, options: str, port: int) -> tuple[Running, int]:
    config = folder / "nats.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\n{options}\n')
    for old in folder.glob("*.ports"):
        old.unlink()
    found = [port]

    def ready(running: Running) -> bool:
        # It writes the file once it listens; a restart waits for JetStream too, which then has its streams.
        files = list(folder.glob("nats-server_*.ports"))
        if not files:
            raise NotReadyError("it has not said where it listens")
        text = files[0].read_text()
        if not text.endswith("}"):
            return False
        found[0] = int(json.loads(text)["nats"][0].rpartition(":")[2])
        return "Server is ready" in running.log.read_text()

    running = start("nats", [str(SERVER), "-c", str(config), "--ports_file_dir", str(folder)], log_dir=folder, ready=ready)
    return running, found[0]
