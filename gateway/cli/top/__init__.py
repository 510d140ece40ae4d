"""`banyan top`: which endpoints are hot and what to migrate next, of a running gateway or of access logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError

type Order = Literal["time", "requests", "errors", "p95", "next"]

ROWS = 20
SUGGESTED = 3
DEFAULT_MINUTES = 15


def top(
    *logs: Annotated[str, Parameter(allow_leading_hyphen=True)],  # for -
    log_format: str = "",
    urlconf: str = "",
    openapi: Path | None = None,
    python: str = "",
    sort: Order = "time",
    limit: int = 0,
    suggest: Annotated[bool, Parameter(negative=())] = False,
    once: Annotated[bool, Parameter(negative=())] = False,
    every: str = "2s",
    minutes: int = DEFAULT_MINUTES,
    admin: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Which endpoints are asked for, what they cost, and what to migrate next: of the running gateway, again and again until Ctrl-C; or of
    access logs of nginx or Apache, gzip'ed or not.

    Example: banyan top /var/log/nginx/access.log /var/log/nginx/access.log.2.gz --urlconf shop.urls

    Parameters
    ----------
    logs
        Access logs; - is standard input. Without any, the running gateway is asked.
    log_format
        How their lines are made: the text of nginx's log_format or Apache's LogFormat, or its name: common, combined, vhost_combined.
        By default what is usual is known: common and combined, also with $request_time and $upstream_response_time, or %D, behind them.
    urlconf
        Your Django URLconf, such as shop.urls: its paths name the endpoints, and its decorators say who needs a login. It is imported
        in a process of its own, in this folder, with DJANGO_SETTINGS_MODULE or the settings beside it.
    openapi
        An OpenAPI document, JSON or YAML, for the same.
    python
        The Python that has your Django, if it is not the one that Banyan runs with.
    sort
        By share of legacy's time, requests, errors (5xx), p95, or next: what to migrate next.
    limit
        How many endpoints; 20, and of --suggest 3, if you say nothing.
    suggest
        Prints what to add to banyan.toml for those that are best to migrate next.
    once
        Prints what the gateway knows now, and ends.
    every
        How often the gateway is asked.
    minutes
        How far back the gateway's figures go: 1 to 60.
    admin
        The gateway's admin port, HOST:PORT, if not [gateway] admin.
    config
        The configuration. With logs there need not be one.
    as_json
        For machines; of a gateway, once.
    """
    for name in logs:
        if name.startswith("-") and name != "-":
            raise RefusalError(f"there is no option {name}: `banyan top --help` has those that there are (a file of that name is ./{name})")
    if not 0 <= limit <= 500:
        raise RefusalError("--limit is from 1 to 500")
    if not 1 <= minutes <= 60:
        raise RefusalError("--minutes is from 1 to 60: a gateway remembers an hour")
    if logs and (admin or once):
        raise RefusalError(f"{'--admin' if admin else '--once'} is about a running gateway: it does not go with access logs")
    if log_format and not logs:
        raise RefusalError("--log-format is about access logs: name one")
    if python and not urlconf:
        raise RefusalError("--python goes with --urlconf")
    if urlconf and openapi is not None:
        raise RefusalError("--urlconf and --openapi: one of them")
    from gateway.cli.top import suggested
    from gateway.cli.top.known import declared

    known = declared(urlconf, openapi, python)
    routes = suggested.configuration(config)
    rows = limit or (SUGGESTED if suggest else ROWS)
    if logs:
        from gateway.cli.top import fromlogs

        found = fromlogs.listing(logs, log_format, known, routes, sort)
    else:
        from gateway.cli.top import live

        seconds = _seconds(every)
        question = live.Question(admin or live.address(config), minutes, sort, known, routes)
        if not (once or as_json or suggest) and live.watched():
            return live.watch(question, seconds, rows)
        found = live.listing(question)
    if suggest:
        return suggested.show(found, routes, config, rows, as_json)
    from gateway.cli.top import shown

    shown.show(found, rows, as_json)
    return 0


def _seconds(text: str) -> float:
    from gateway.units import seconds

    try:
        found = seconds(text)
    except ValueError as error:
        raise RefusalError(f"--every: {error}") from None
    if not 0.2 <= found <= 3600:
        raise RefusalError("--every is from 200ms to 1h")
    return found
