"""Whether the flags can be had where they live, and whether those that routes read are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.config import Config
from gateway.doctor.findings import Finding

_ABOUT = "flags"


def look(config: Config, within: float) -> Sequence[Finding]:
    """Of the file, or of Unleash."""
    return _unleash(config, within) if config.flags.source == "unleash" else _file(config)


def _file(config: Config) -> Sequence[Finding]:
    from flags.features import parse
    from flags.file import FlagFileError, read

    path = config.resolve(config.flags.path)
    try:
        features = parse(read(path))["features"]
    except FlagFileError as error:
        return [Finding(_ABOUT, "wrong", str(error), "`banyan flags sync` makes the flags that are missing, off")]
    return _there(config, str(path), features)


def _there(config: Config, where: str, features: Iterable[Mapping[str, Any]]) -> Sequence[Finding]:
    known = {str(feature["name"]) for feature in features}
    # A split's flag that is not there leaves the configured weights in force, which is as good.
    read = {flag for route in config.routes for flag, role in route.flags.items() if role != "split"}
    missing = sorted(read - known)
    if missing:
        named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        return [Finding(_ABOUT, "warning", f"{where} has no {named}: off, legacy answers", "`banyan flags sync` makes them")]
    return [Finding(_ABOUT, "fine", f"{where}: {len(known)}, and all that routes read")]


def _unleash(config: Config, within: float) -> Sequence[Finding]:
    import httpx

    from flags.admin import bounded
    from flags.features import FeaturesError, parse
    from flags.salvage import salvage
    from flags.source import FlagSourceError

    flags = config.flags
    where = f"Unleash at {flags.url}"
    todo = f"until it answers, a start goes by {flags.backup}, and without that everything is legacy's"
    try:
        with bounded.client(flags.url.rstrip("/"), flags.token.get_secret_value(), timeout=within / 4, whole=within / 2) as client:
            response = client.get("/client/features")
    except (httpx.HTTPError, FlagSourceError) as error:
        why = bounded.why(error) if isinstance(error, httpx.HTTPError) else str(error)
        return [Finding(_ABOUT, "wrong", f"{where} does not answer: {why}", todo)]
    if response.status_code in (401, 403):
        return [Finding(_ABOUT, "wrong", f"{where} refuses the token ({response.status_code})", "flags.token is to be a client token")]
    try:
        features = parse(salvage(response.raise_for_status().content).features)["features"]
    except (httpx.HTTPError, FeaturesError, ValueError):
        return [
            Finding(_ABOUT, "wrong", f"{where} answers {response.status_code}, with no flags", "is that its API, with /api at the end?")
        ]
    return [*_there(config, where, features), *_admin(config, where, within)]


def _admin(config: Config, where: str, within: float) -> Sequence[Finding]:
    """Whether flags can be changed there, which `banyan flags` and guards do."""
    import httpx

    from flags.admin import bounded

    token = config.flags.admin_token.get_secret_value()
    if not token:
        return [Finding("flags, changing", "note", "no flags.admin_token: `banyan flags` cannot change them, nor can a guard")]
    try:
        with bounded.client(config.flags.url.rstrip("/"), token, timeout=within / 4, whole=within / 2) as client:
            status = client.get(f"/admin/projects/{config.flags.project}/features").status_code
    except httpx.HTTPError as error:
        return [Finding("flags, changing", "wrong", f"{where} does not answer: {bounded.why(error)}", "see whether it is well")]
    if status == 200:
        return [Finding("flags, changing", "fine", f"project {config.flags.project} can be read with flags.admin_token")]
    todo = "flags.admin_token is to be an admin token or a personal one" if status in (401, 403) else "is flags.project right?"
    return [Finding("flags, changing", "wrong", f"project {config.flags.project}: {where} answers {status}", todo)]
