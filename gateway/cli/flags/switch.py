"""`banyan flags on`, `off` and `set`: who answers, where the flags live."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from gateway.cli.flags.options import ConfigFile, Force, Json
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flags.admin import FlagState
    from gateway.cli.flags.home import Home
    from gateway.cli.flags.steering import Steering

_STICKINESS: Final = ("default", "userId", "sessionId", "random")


def on(names: list[str], /, *, config: ConfigFile = Path("banyan.toml"), force: Force = False, as_json: Json = False) -> int:
    """Turns flags on, for the share that they had.

    Example: banyan flags on reviews.shadow

    Parameters
    ----------
    names
        One flag or several.
    """
    from gateway.cli.flags.steering import steering

    return _switch(steering(config), names, lambda home, name: home.set(name, True, None, None), as_json, force)


def off(names: list[str], /, *, config: ConfigFile = Path("banyan.toml"), force: Force = False, as_json: Json = False) -> int:
    """Turns flags off: legacy answers. Does what it can even if something else in banyan.toml is wrong.

    Example: banyan flags off reviews

    Parameters
    ----------
    names
        One flag or several; each is turned off whatever becomes of the others.
    """
    from gateway.cli.flags.steering import steering

    where = steering(config, whatever=True)
    if where.wrong:
        print(f"note: {where.path}: {where.wrong}. Only what this needs was read", file=sys.stderr)
    return _switch(where, names, lambda home, name: home.off(name), as_json, force, emergency=True)


def set_share(
    name: str,
    share: str,
    /,
    *,
    stickiness: Annotated[str, Parameter(name="--stickiness")] = "",
    config: ConfigFile = Path("banyan.toml"),
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Turns a flag on for a share of the users. Constraints, segments and variants stay.

    Example: banyan flags set reviews 25% --stickiness userId

    Parameters
    ----------
    name
        The flag.
    share
        A whole percentage, such as 25%.
    stickiness
        By what somebody stays on one side: userId, sessionId, random, default (userId, else sessionId, else chance), or a property.
        Another one than before changes who is in the share. By default it stays.
    """
    from gateway.cli.flags.steering import steering

    digits = share.removesuffix("%")
    if not re.fullmatch("[0-9]{1,3}", digits) or int(digits) > 100:
        raise RefusalError(f"{share!r} is not a share: write a whole percentage from 0% to 100%")
    percent = int(digits)
    if stickiness and stickiness not in _STICKINESS:
        near = difflib.get_close_matches(stickiness, _STICKINESS, 1)
        if near and near[0].lower() == stickiness.lower():
            raise RefusalError(f"there is no stickiness {stickiness!r}. Did you mean {near[0]!r}? Nothing was changed")
        print(
            f"note: {stickiness!r} is none of {', '.join(_STICKINESS)}, so it is read as a property of the request. Legacy answers to "
            "whoever has no such property",
            file=sys.stderr,
        )
    return _switch(steering(config), [name], lambda home, flag: home.set(flag, True, percent, stickiness or None), as_json, force)


def _switch(
    where: Steering,
    names: Sequence[str],
    change: Callable[[Home, str], FlagState],
    as_json: bool,
    force: bool,
    *,
    emergency: bool = False,
) -> int:
    """One that cannot be switched keeps no other from it."""
    from flags.admin import AdminError
    from gateway.cli.flags.home import home, refusing

    states: list[FlagState] = []
    failures: list[str] = []
    with refusing(), home(where) as place:
        for name in dict.fromkeys(names):
            try:
                if not force and (unread := _unread(where, name)):
                    _go_on(unread, place.has(name))
                states.append(change(place, name))
            except RefusalError as refusal:
                failures.append(str(refusal))
            except AdminError as error:
                failures.append(str(error))
                if emergency and name in where.flags:
                    failures.append(f"meanwhile `banyan flags override {name} off --for 30m` reaches the running gateways")
    _print(states, as_json)
    _note_overrides(where, states)
    if failures:
        raise RefusalError("\nbanyan: ".join(failures))
    return 0


def _note_overrides(where: Steering, states: Sequence[FlagState]) -> None:
    """Whoever turns a flag off has to hear that the gateway here goes by an override which says on."""
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.flags.shown import clock, plain
    from gateway.cli.shapes import Flags

    try:
        overrides = AdminPort(where.admin).get("/flags", kind=Flags).get("overrides") or {}
    except AdminPortError:
        return  # no gateway here
    for state in states:
        found = overrides.get(state.name)
        if found is not None:
            word = "on" if found["enabled"] else "off"
            text = (
                f"note: until {clock(found['until'])} an override by {found.get('by') or 'somebody'} has {state.name} {word} for everybody "
                f"in the gateway at {where.admin}, whatever the flag is. `banyan flags override {state.name} --clear` ends it"
            )
            print(plain(text), file=sys.stderr)


def _unread(where: Steering, name: str) -> str:
    """That no route reads the flag, and what was meant perhaps; "" where one does."""
    if name in where.flags:
        return ""
    near = difflib.get_close_matches(name, where.flags, 1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"{where.path}: no route reads a flag {name!r}. {meant}Routes read {', '.join(map(repr, where.flags)) or 'none yet'}"


def _go_on(unread: str, exists: bool) -> None:
    """In an emergency, `flags off revews` must not say "off" while the candidate of `reviews` goes on answering.

    A flag that is there already is somebody's, and is switched with a note.

    Raises:
        RefusalError: the flag would be a new one that nobody reads.
    """
    if not exists:
        raise RefusalError(f"{unread}. Nothing was changed; --force makes it all the same")
    print(f"note: {unread}", file=sys.stderr)


def _print(states: Sequence[FlagState], as_json: bool) -> None:
    from gateway.cli.flags.shown import in_words

    if as_json:
        found = [
            {"name": s.name, "enabled": s.enabled, "rollout": s.rollout, "conditional": s.conditional, "stickiness": s.stickiness or None}
            for s in states
        ]
        print(json.dumps(found, indent=2))
        return
    width = max((len(state.name) for state in states), default=0)
    for state in states:
        note = f"  ({state.description})" if state.description == "archived in Unleash" else ""
        print(f"{state.name:{width}}  {in_words(state)}{note}")
