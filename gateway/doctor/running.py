"""The gateway that runs, by its admin port: whether it is well, and goes by the file that is here."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cli.admin import AdminPort, AdminPortError
from gateway.config import Config
from gateway.doctor.findings import Finding
from gateway.masking import masked

_ABOUT = "gateway"


def look(config: Config, within: float) -> Sequence[Finding]:
    """None that runs is no fault: perhaps it is to be started next."""
    try:
        port = AdminPort(config.gateway.admin)
        ready = port.get("/readyz", within=within / 2)
    except AdminPortError as error:
        if error.status == 0:
            return [Finding(_ABOUT, "note", f"none runs that answers at {config.gateway.admin}", "`banyan run` starts one")]
        if error.status == 503:
            todo = "wait, or see its standard error"
            return [Finding(_ABOUT, "wrong", "it takes no traffic: it is starting or draining, or a worker is away", todo)]
        return [Finding(_ABOUT, "wrong", str(error), "see whether something else listens there")]
    try:
        there = port.get("/config", kind=dict, within=within / 2)
    except AdminPortError as error:
        return [Finding(_ABOUT, "warning", str(error))]
    last = there.get("last_reload")
    if isinstance(last, dict) and not last.get("ok"):
        return [
            Finding(_ABOUT, "wrong", f"its last reload failed: {last.get('error')}", "correct the file; the configuration before it serves")
        ]
    if there.get("config") != masked(config):
        return [
            Finding(
                _ABOUT, "warning", f"it goes by another configuration than {config.path} is now ({there.get('path')})",
                "it looks at the file by itself; SIGHUP has it look now, and a start takes what no reload can change",
            )
        ]  # fmt: skip
    return [Finding(_ABOUT, "fine", f"{ready.get('status') if isinstance(ready, dict) else 'ready'} at {config.gateway.admin}")]
