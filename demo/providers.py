"""Stand-in payment providers as running processes, for the drills and the tests: started, killed, started again on the same port."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from demo.processes import Running, answers, listen, python, start
from services.psp.faults import Fault
from services.psp.ledger import charges

__all__ = ["Fault", "Provider", "start_provider"]


@dataclass(slots=True)
class Provider(Running):
    """A running provider, and where it writes down what it has charged."""

    ledger: Path

    def charges(self) -> list[tuple[str, str]]:
        """(name, reference) of everything that it has charged, whether it runs or not."""
        return charges(self.ledger)

    def search(self, key: str) -> list[dict[str, object]]:
        """What it says that it has charged by `key`.

        Raises:
            OSError: it does not answer.
        """
        with urllib.request.urlopen(f"{self.url}/api/v1/payments/?{urlencode({'key': key})}", timeout=5) as answer:  # noqa: S310 - as below
            found: list[dict[str, object]] = json.load(answer)["results"]
            return found

    def hanging(self) -> list[str]:
        """The names of the payments that it has read and leaves without an answer at this moment.

        Raises:
            OSError: it does not answer.
        """
        with urllib.request.urlopen(f"{self.url}/hanging", timeout=5) as answer:  # noqa: S310 - as below
            found: list[str] = json.load(answer)
            return found

    def switch(self, faults: str) -> None:
        """How it fails from now on, as `services.psp.faults` has it.

        Raises:
            OSError: it does not answer, or takes them for wrong.
        """
        request = urllib.request.Request(f"{self.url}/faults", faults.encode(), method="PUT")  # noqa: S310 - http:// to this machine
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - as above
            pass


def start_provider(name: str, workdir: Path, *, faults: str = "", port: int = 0, env: Mapping[str, str] | None = None) -> Provider:
    """Serves the provider `name`, whose ledger and log are in `workdir` and are gone on with. `port`: the one that it had.

    Raises:
        StartError: it did not come up.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    ledger = workdir / f"{name}.sqlite3"
    environment = {"BANYAN_PSP_DB": str(ledger), "BANYAN_PSP_FAULTS": faults, **(env or {})}
    command = python("-m", "services.psp", "serve", "--name", name)
    if port:
        # Bound by the child, late: until it can answer, whoever connects is refused, as by a machine that is still booting.
        running = start(name, [*command, "--port", "{port}"], log_dir=workdir, port=port, env=environment, ready=answers("/healthz"))
    else:
        running = start(name, [*command, "--fd", "{fd}"], log_dir=workdir, sock=listen(), env=environment, ready=answers("/healthz"))
    return Provider(name, running.process, running.log, running.port, ledger)
