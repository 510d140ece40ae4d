"""`banyan doctor`: what is wrong, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.shared import RefusalError

CONSOLE = "127.0.0.1:9901"


def doctor(
    *,
    within: str = "5s",
    console: str = CONSOLE,
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Looks at a set-up, running or not, and says on one page what is wrong and what to do. It changes nothing, and shows no secret.

    Example: banyan doctor --config /etc/banyan/banyan.toml

    Exit status 0: nothing is wrong; 1: something is; 2: the configuration cannot be read.

    Parameters
    ----------
    within
        How long each look may take; all of them are taken at once.
    console
        Where the console listens.
    config
        The configuration.
    as_json
        For machines.
    """
    from gateway.cli.doctor import looks, shown
    from gateway.doctor import findings

    seconds = _seconds(within)
    _place(console)
    loaded, found = looks.taken(config, console, seconds)
    shown.show(found, as_json)
    return findings.status(found, loaded)


def _seconds(text: str) -> float:
    from gateway.units import seconds

    try:
        found = seconds(text)
    except ValueError as error:
        raise RefusalError(f"--within: {error}") from None
    if not 0.5 <= found <= 60:
        raise RefusalError("--within is from 500ms to 1m")
    return found


def _place(address: str) -> None:
    from gateway.settings.addresses import parse_address

    try:
        parse_address(address)
    except ValueError as error:
        raise RefusalError(f"--console: {error}") from None
