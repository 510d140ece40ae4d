"""`banyan flags override`: what the running gateways decide by, whatever Unleash says, and even where it is down."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gateway.cli.flags.options import ConfigFile, Json
from gateway.cli.shared import RefusalError, who

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    from concurrent.futures import ThreadPoolExecutor

    from gateway.cli.flags.shown import plain
    from gateway.cli.flags.steering import admin_address

    if clear == (state is not None):
        raise RefusalError("say on or off and for how long, as in `banyan flags override reviews off --for 30m`; or --clear")
    if clear and duration:
        raise RefusalError("--clear ends the override now: --for does not go with it")
    body: dict[str, object] = {"by": by or who(), "why": why}
    if not clear:
        body = {"enabled": state == "on", "seconds": _seconds(duration), **body}
    addresses = admin or [admin_address(config)]
    with ThreadPoolExecutor(min(len(addresses), 16)) as pool:
        results = list(pool.map(lambda address: _ask(address, name, "DELETE" if clear else "PUT", body), addresses))
    if as_json:
        print(json.dumps({"flag": name, "gateways": results}, indent=2))
    else:
        for result in results:
            print(plain(_line(name, result, clear)), file=sys.stderr if result["error"] else sys.stdout)
    missing = [result for result in results if result["missing"]]
    return 0 if all(result["taken"] or result["missing"] for result in results) and len(missing) < len(results) else 1


def _seconds(text: str) -> float:
    from flags.overrides import LONGEST
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


def _ask(address: str, name: str, method: str, body: Mapping[str, object]) -> dict[str, Any]:
    from urllib.parse import quote

    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.shapes import Overridden

    began = time.monotonic()
    result: dict[str, Any] = {"gateway": address, "taken": False, "missing": False, "error": "", "seconds": None, "answer": None}
    try:
        answer = AdminPort(address).ask(method, f"/flags/overrides/{quote(name, safe='')}", body, kind=Overridden)
    except AdminPortError as error:
        # Where several gateways are asked to end it, one may have been restarted since, or never have had it.
        return {**result, "error": str(error), "missing": error.code == "no-override"}
    return {**result, "taken": all(answer["workers"].values()), "seconds": round(time.monotonic() - began, 3), "answer": answer}


def _line(name: str, result: Mapping[str, Any], clear: bool) -> str:
    from gateway.cli.flags.shown import clock, duration

    if result["error"]:
        return f"{result['gateway']}: {'' if result['missing'] else 'NOT TAKEN: '}{result['error']}"
    answer = result["answer"]
    workers: Mapping[str, bool] = answer["workers"]
    late = [number for number, decides in workers.items() if not decides]
    how = f"every worker decides by it after {duration(result['seconds'])}"
    if late:
        how = f"NOT YET by worker {', '.join(late)}; `banyan flags list` shows when"
    if answer.get("warning"):
        how += f". Mind: {answer['warning']}"
    if clear:
        return f"{result['gateway']}: {name} goes by its flag again; {how}"
    until = float(answer.get("until") or 0)
    state = "on" if answer.get("enabled") else "off"
    return f"{result['gateway']}: {name} is {state} for everybody until {clock(until)} (for {duration(until - time.time())}); {how}"
