"""`banyan flags`: the steering wheel, where the flags live."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from flags.admin import FlagState, UnleashAdmin
    from gateway.settings import Config

app = App(name="flags", help="Lists and switches the flags, in the flag file or in Unleash.")

Force = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command(name="list")
def show(*, config: Path = Path("banyan.toml"), as_json: Json = False) -> int:
    """Every flag with its state.

    Example: banyan flags list
    """
    from flags.admin import list_flags

    loaded = load_config(config)
    with _refusing():
        if loaded.flags.source == "file":
            states = list_flags(loaded.resolve(loaded.flags.path))
        else:
            with _unleash(loaded) as admin:
                states = admin.list()
    _print(states, as_json)
    return 0


@app.command
def on(name: str, *, config: Path = Path("banyan.toml"), force: Force = False, as_json: Json = False) -> int:
    """Turns a flag on, for the share that it had.

    Example: banyan flags on reviews.shadow

    Parameters
    ----------
    force
        Makes it also where no route reads it.
    """
    return _switch(config, name, True, None, as_json, force)


@app.command
def off(name: str, *, config: Path = Path("banyan.toml"), force: Force = False, as_json: Json = False) -> int:
    """Turns a flag off: legacy answers.

    Example: banyan flags off reviews

    Parameters
    ----------
    force
        Makes it also where no route reads it.
    """
    return _switch(config, name, False, None, as_json, force)


@app.command(name="set")
def set_share(name: str, share: str, *, config: Path = Path("banyan.toml"), force: Force = False, as_json: Json = False) -> int:
    """Turns a flag on for a share of the users.

    Example: banyan flags set reviews 25%

    Parameters
    ----------
    share
        A whole percentage, such as 25%.
    force
        Makes it also where no route reads it.
    """
    digits = share.removesuffix("%")
    if not digits.isascii() or not digits.isdigit() or int(digits) > 100:
        raise RefusalError(f"{share!r} is not a share: write a whole percentage from 0% to 100%")
    return _switch(config, name, True, int(digits), as_json, force)


def _switch(config: Path, name: str, enabled: bool, rollout: int | None, as_json: bool, force: bool) -> int:
    from flags.admin import has_flag, set_flag

    loaded = load_config(config)
    unread = "" if force else _unread(loaded, name)
    with _refusing():
        if loaded.flags.source == "file":
            path = loaded.resolve(loaded.flags.path)
            if unread:
                _go_on(unread, has_flag(path, name))
            state = set_flag(path, name, enabled, rollout)
        else:
            with _unleash(loaded) as admin:
                if unread:
                    _go_on(unread, admin.exists(name))
                admin.ensure_flag(name)
                state = admin.set(name, enabled, rollout)
    _print([state], as_json)
    return 0


def _unread(config: Config, name: str) -> str:
    """That no route reads the flag, and what was meant perhaps; "" where one does."""
    read = [flag for route in config.routes for flag in (route.serve_flag, route.shadow_flag)]
    if name in read:
        return ""
    near = difflib.get_close_matches(name, read, 1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"{config.path}: no route reads a flag {name!r}. {meant}Routes read {', '.join(map(repr, read)) or 'none yet'}"


def _go_on(unread: str, exists: bool) -> None:
    """In an emergency, `flags off revews` must not say "off" while the candidate of `reviews` goes on answering.

    A flag that is there already is somebody's, and is switched with a note.

    Raises:
        RefusalError: the flag would be a new one that nobody reads.
    """
    if not exists:
        raise RefusalError(f"{unread}. Nothing was changed; --force makes it all the same")
    print(f"note: {unread}", file=sys.stderr)


def _unleash(config: Config) -> UnleashAdmin:
    """Used in a `with`.

    Raises:
        AdminError: no usable token.
    """
    from flags.admin import UnleashAdmin

    flags = config.flags
    return UnleashAdmin(flags.url, flags.admin_token.get_secret_value(), environment=flags.environment)


def _print(states: list[FlagState], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"name": s.name, "enabled": s.enabled, "rollout": s.rollout} for s in states], indent=2))
        return
    for state in states:
        share = "by its strategies" if state.rollout is None else f"{state.rollout} %"
        print(f"{state.name:40} {f'on   {share}' if state.enabled else 'off'}")


@contextmanager
def _refusing() -> Iterator[None]:
    from flags.admin import AdminError

    try:
        yield
    except AdminError as error:
        raise RefusalError(str(error)) from error
