"""Flags in the file: everything else in it stays, and two at once lose nothing of one another's."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from flags import names
from flags.admin import strategies
from flags.admin.atomic import write_atomically
from flags.admin.states import OURS, AdminError, FlagState, Synced, Wanted
from flags.admin.strategies import ROLLOUT, Strategy, check_percent, conditional_of, only_rollout, parameters, rollout_of, stickiness_of
from flags.features import EMPTY, FeaturesError, normalised, parse, written

LOCK_SECONDS: Final = 5.0
"""A change of the file takes some milliseconds."""


def list_flags(path: Path) -> list[FlagState]:
    """Every flag in the file.

    Raises:
        AdminError: the file can't be read.
    """
    return [_state(feature) for feature in _load(path)["features"]]


def has_flag(path: Path, name: str) -> bool:
    """Whether the flag is in the file, if there is one.

    Raises:
        AdminError: the file can't be read.
    """
    return any(feature["name"] == name for feature in _load(path, missing_ok=True)["features"])


def set_flag(path: Path, name: str, enabled: bool, rollout: int | None = None, stickiness: str | None = None) -> FlagState:
    """Turns a flag in the file on or off, for `rollout` percent; None keeps the percentage that it has (a new flag: 100).

    `stickiness` None keeps that too (a new flag: "default", which is userId, else sessionId, else chance). The file and the flag are made
    where they are missing. Everything else in the file stays, its mode too, and readers see either the whole old or the whole new content.

    Raises:
        AdminError: the file can't be read or written, the gateway would not take it, or the flag has strategies that a percentage would
            destroy.
    """
    check_percent(rollout)
    with _changing(path) as document:
        feature = next((f for f in document["features"] if f["name"] == name), None)
        if feature is None:
            feature = _new(name, "", "release", stickiness)
            document["features"].append(feature)
        feature["enabled"] = enabled
        if rollout is not None:
            current = only_rollout(name, _counting(feature), str(path))
            feature["strategies"] = [_strategy(name, rollout, stickiness, current)]
    return _state(feature)


def switch_off(path: Path, name: str) -> bool:
    """Turns a flag in the file off. Whether it was on: of several who do it at once, one is told so. What is off, or not there, stays as it
    is, and so does the file.

    Raises:
        AdminError: as `set_flag`; or there is no file. It may be away for a moment, in which gateways go by what it held: an empty one in
            its place would turn every flag off.
    """
    was_on = False
    with _changing(path, missing_ok=False) as document:
        for feature in document["features"]:
            if feature["name"] == name and feature["enabled"]:
                was_on, feature["enabled"] = True, False
    return was_on


def is_on(path: Path, name: str) -> bool:
    """Whether the flag is in the file, and on.

    Raises:
        AdminError: the file can't be read, or there is none, which says nothing of the flag.
    """
    return any(feature["name"] == name and feature["enabled"] for feature in _load(path)["features"])


def sync_flags(path: Path, wanted: Sequence[Wanted], *, dry_run: bool = False) -> list[Synced]:
    """Makes, off, what is missing of the `wanted`; what is there stays as it is. `dry_run` only says what would be done.

    Raises:
        AdminError: as `set_flag`.
    """
    there = {feature["name"]: feature for feature in _load(path, missing_ok=True)["features"]}
    missing = [flag for flag in wanted if flag.name not in there]
    if missing and not dry_run:
        with _changing(path) as document:
            known = {feature["name"] for feature in document["features"]}
            document["features"] += [
                _new(flag.name, flag.description, flag.type, variants=flag.variants) for flag in missing if flag.name not in known
            ]
    names_wanted = {flag.name for flag in wanted}
    return [
        *(Synced(flag.name, "kept" if flag.name in there else "made") for flag in wanted),
        *(
            Synced(name, "unread")
            for name, feature in there.items()
            if name not in names_wanted and str(feature.get("description") or "").startswith(OURS)
        ),
    ]


def _new(
    name: str, description: str, kind: str, stickiness: str | None = None, *, variants: Mapping[str, int] | None = None
) -> dict[str, Any]:
    if not names.possible(name):  # what somebody wrote into the file by hand can be switched nevertheless
        raise AdminError(f"{name!r} cannot be a flag's name: {names.RULE}")
    described = {"description": description} if description else {}
    strategy = _strategy(name, 100, stickiness)
    if variants:
        strategy["variants"] = strategies.variants(variants)
    return {"name": name, "type": kind, **described, "enabled": False, "strategies": [strategy]}


def _strategy(name: str, rollout: int, stickiness: str | None, current: Strategy | None = None) -> Strategy:
    """A rollout in place of `current`, whose constraints, segments and variants stay."""
    kept = {key: value for key, value in (current or {}).items() if key not in {"name", "parameters", "disabled"}}
    return {"name": ROLLOUT, "constraints": [], **kept, "parameters": parameters(name, rollout, stickiness, current)}


def _counting(feature: dict[str, Any]) -> list[Strategy]:
    """ "disabled" is for Unleash, which keeps such a strategy to itself; the engine, which the file goes to, decides by it all the same."""
    return [{key: value for key, value in strategy.items() if key != "disabled"} for strategy in feature["strategies"]]


def _state(feature: dict[str, Any]) -> FlagState:
    counting = _counting(feature)
    return FlagState(
        feature["name"],
        feature["enabled"],
        rollout_of(counting),
        str(feature.get("description") or ""),
        str(feature.get("type") or "release"),
        stickiness_of(counting),
        bool(feature.get("stale")),
        conditional=conditional_of(counting),
    )


@contextmanager
def _changing(path: Path, *, missing_ok: bool = True) -> Iterator[dict[str, Any]]:
    """The document, to be changed in place; written when that went well, something has changed, and the gateway would take it."""
    target = path.resolve()  # through a symbolic link, which stays
    try:
        if missing_ok:
            target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent):
            document = _load(target, missing_ok=missing_ok)
            before = written(document)
            yield document
            data = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
            normalised(data, strict=True)
            if orjson.dumps(document) != before or not target.exists():
                write_atomically(target, data)
    except FeaturesError as error:  # to say "off" of a file that the gateway does not take would be a lie
        raise AdminError(f"flag file {path}: {error}. Correct it first; nothing was changed") from None
    except OSError as error:
        raise AdminError(f"flag file {path}: {error.strerror or error}. Nothing was changed") from None


def _load(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not missing_ok:
            raise AdminError(f"flag file {path}: there is no such file. `banyan flags sync` makes it, with all flags off") from None
        data = EMPTY
    except OSError as error:
        raise AdminError(f"flag file {path}: {error.strerror or error}") from None
    try:
        return parse(data)
    except FeaturesError as error:
        raise AdminError(f"flag file {path}: {error}. Correct it first; nothing was changed") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two `banyan flags` at once must not lose one another's change. The folder is locked: the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise AdminError(
                        f"{folder}: somebody else has been changing flags there for {LOCK_SECONDS:g} s, and is perhaps stopped. "
                        f"`fuser {folder}` shows who; nothing was changed"
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
