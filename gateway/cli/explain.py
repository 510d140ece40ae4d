"""`banyan explain`: why a request goes where it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config


def explain(
    method: str,
    target: str,
    /,
    *,
    user: str | None = None,
    session: str | None = None,
    address: str | None = None,
    header: Annotated[list[str] | None, Parameter(negative=())] = None,
    claim: Annotated[list[str] | None, Parameter(negative=())] = None,
    offline: Annotated[bool, Parameter(negative=())] = False,
    admin: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Which route a request meets, which flags decide, who answers, and why. Nothing is sent to an upstream.

    Example: banyan explain GET /api/v1/reviews/3 --user 42 --header "X-App-Version: 3.1"

    The running gateway is asked; where none answers, the same is worked out here from banyan.toml and the flags that it would start with.

    Parameters
    ----------
    method
        GET, POST, …
    target
        The path, and the query if there is one.
    user
        Who is logged in.
    session
        The session's id.
    address
        The client's address.
    header
        A header field, "Name: value"; once for each.
    claim
        What else identity says of the user, NAME=VALUE; once for each.
    offline
        Asks no gateway.
    admin
        The gateway's admin port, HOST:PORT, if not [gateway] admin.
    config
        The configuration.
    as_json
        For machines.
    """
    question: dict[str, Any] = {
        "method": method,
        "target": target,
        "headers": [_pair(text, ":", "--header", '"Name: value"') for text in header or ()],
        "claims": dict(_pair(text, "=", "--claim", "NAME=VALUE") for text in claim or ()),
    }
    question |= {key: value for key, value in (("user", user), ("session", session), ("address", address)) if value is not None}
    answer, gateway, source = _here(config, question, "--offline") if offline else _asked(config, admin, question)
    if as_json:
        print(json.dumps({**answer, "gateway": gateway, "answered": source}, indent=2))
    else:
        from gateway.cli.explained import lines

        for line in lines(answer, source, time.time()):
            print(line)
    return 0


def _pair(text: str, mark: str, option: str, right: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name.strip():
        raise RefusalError(f"{option}: write {right}, not {text!r}")
    return name.strip(), value.strip()


def _asked(path: Path, admin: str, question: Mapping[str, Any]) -> tuple[dict[str, Any], str | None, str]:
    """The answer, the gateway that gave it (None: none did), and both in words."""
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.flags.steering import admin_address
    from gateway.cli.shapes import Explained

    place = admin or admin_address(path)
    try:
        answer: dict[str, Any] = AdminPort(place).ask("POST", "/explain", question, kind=Explained)
    except AdminPortError as error:
        if error.status:  # there is one, and it says no: an answer from here would be another's
            hint = "" if error.status == 422 else ". --offline works it out from the files instead"
            raise RefusalError(f"{error}{hint}") from None
        if admin:
            raise RefusalError(f"{error}. Without --admin it is worked out from the files") from None
        return _here(path, question, str(error))
    return answer, place, f"answered by the gateway at {place}"


def _here(path: Path, question: Mapping[str, Any], why: str) -> tuple[dict[str, Any], None, str]:
    from gateway.cli.standing import flags_from, overrides, snapshot
    from gateway.explain import QuestionError, asked, explain

    config = load_config(path)
    try:
        found = explain(config, snapshot(config), overrides(config), asked(json.dumps(question).encode()))
    except QuestionError as error:
        raise RefusalError(str(error)) from None
    return found, None, f"NOT BY A GATEWAY ({why}): worked out from {config.path} and {flags_from(config)}"
