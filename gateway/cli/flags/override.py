"""`banyan flags override`: what the running gateways decide by, whatever Unleash says, and even where it is down."""

from __future__ import annotations

import getpass
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

from cyclopts import Parameter

from gateway.cli.flags.options import ConfigFile, Json
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 7 * 86400
"""Seconds. What is to last longer is changed where the flag lives."""


def override(
    name: str,
    state: Literal["on", "off"] | None = None,
    /,
    *,
    duration: Annotated[str, Parameter(name="--for")] = "",
    why: str = "",
    by: str = "",
    clear: Annotated[bool, Parameter(negative=())] = False,
    admin: Annotated[list[str] | None, Parameter(negative=())] = None,
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Turns a flag on or off for everybody in running gateways, at once and for a time. Needs neither Unleash nor the flag file.

    Example: banyan flags override reviews off --for 30m --why "reviews answers 500"

    Exit status 1: a gateway did not take it.

    Parameters
    ----------
    name
        The flag.
    state
        on or off.
    duration
        How long, such as 90s, 30m or 2h; 7d at most. Afterwards the flag decides again.
    why
        For whoever finds it.
    by
        Who. By default your login name and this machine's.
    clear
        Ends the override now.
    admin
        A gateway's admin port, HOST:PORT; once for each gateway. By default [gateway] admin.
    """
    if clear == (state is not None):
        raise RefusalError("say on or off and for how long, as in `banyan flags override reviews off --for 30m`; or --clear")
    if clear and duration:
        raise RefusalError("--clear ends the override now: --for does not go with it")
    body: dict[str, object] = {"by": by or _who(), "why": why}
    if not clear:
        body = {"enabled": state == "on", "seconds": _seconds(duration), **body}
    addresses = admin or [_configured(config)]
    with ThreadPoolExecutor(min(len(addresses), 16)) as pool:
        results = list(pool.map(lambda address: _ask(address, name, "DELETE" if clear else "PUT", body), addresses))
    if as_json:
        print(json.dumps({"flag": name, "gateways": results}, indent=2))
    else:
        for result in results:
            print(_line(name, result, clear), file=sys.stderr if result["error"] else sys.stdout)
    return 0 if all(result["taken"] for result in results) else 1


def _seconds(text: str) -> float:
    from gateway.units import seconds

    if not text:
        raise RefusalError("say for how long: --for 30m. An override that nobody ends would be forgotten")
    try:
        found = seconds(text)
    except ValueError as error:
        raise RefusalError(f"--for: {error}") from None
    if not 1 <= found <= LONGEST:
        raise RefusalError(f"--for {text}: from 1s to 7d. What is to last is changed where the flag lives: `banyan flags on|off NAME`")
    return found


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def _configured(config: Path) -> str:
    from gateway.cli.flags.steering import ADMIN, steering

    try:
        return steering(config, whatever=True).admin
    except RefusalError as error:
        print(f"note: {error}; asking {ADMIN}. --admin HOST:PORT names another gateway", file=sys.stderr)
        return ADMIN


def _ask(address: str, name: str, method: str, body: Mapping[str, object]) -> dict[str, Any]:
    from gateway.cli.admin import AdminPort, AdminPortError

    began = time.monotonic()
    try:
        answer = AdminPort(address).ask(method, f"/flags/overrides/{quote(name, safe='')}", body)
    except AdminPortError as error:
        return {"gateway": address, "taken": False, "error": str(error), "seconds": None, "answer": None}
    workers = answer.get("workers") or {} if isinstance(answer, dict) else {}
    return {
        "gateway": address,
        "taken": all(workers.values()),
        "error": "",
        "seconds": round(time.monotonic() - began, 3),
        "answer": answer,
    }


def _line(name: str, result: Mapping[str, Any], clear: bool) -> str:
    from gateway.cli.flags.shown import clock, duration

    if result["error"]:
        return f"{result['gateway']}: not taken: {result['error']}"
    answer = result["answer"]
    workers: Mapping[str, bool] = answer.get("workers") or {}
    late = [number for number, decides in workers.items() if not decides]
    how = f"every worker decides by it after {duration(result['seconds'])}"
    if late:
        how = f"NOT YET by worker {', '.join(late)}; `banyan flags list` shows when"
    if clear:
        return f"{result['gateway']}: {name} goes by its flag again; {how}"
    until = float(answer.get("until") or 0)
    state = "on" if answer.get("enabled") else "off"
    return f"{result['gateway']}: {name} is {state} for everybody until {clock(until)} (for {duration(until - time.time())}); {how}"
