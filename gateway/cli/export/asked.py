"""What a person says to `banyan export`, and the flags as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from flags.snapshot import Snapshot
    from gateway.export.places import Surroundings
    from gateway.export.plan import FlagState
    from gateway.settings import Config

_ANY = ("0.0.0.0", "::")  # noqa: S104 - where nobody can be sent to


def surroundings(config: Config, rest: str, gateway: str, services: Sequence[str], *, by_name: bool) -> Surroundings:
    """`by_name`: the mesh knows services, and not addresses.

    Raises:
        RefusalError: something is missing, or cannot be.
    """
    from gateway.export.places import Surroundings, numeric

    if rest not in ("gateway", "legacy"):
        raise RefusalError(f"--rest is gateway or legacy, and not {rest[:40]!r}")
    found: dict[str, tuple[str, int]] = {}
    for text in services:
        name, mark, where = text.partition("=")
        if not mark or name not in config.upstreams:
            raise RefusalError(f"--service: write UPSTREAM=HOST:PORT, with one of {', '.join(sorted(config.upstreams))}; not {text[:80]!r}")
        found[name] = _place("--service", where)
    if rest == "legacy":
        if gateway:
            raise RefusalError("--gateway means nothing with --rest legacy: nothing goes there any more")
        return Surroundings("legacy", ("", 0), found)
    place = _place("--gateway", gateway) if gateway else _listening(config)
    if place is None or (by_name and (numeric(place[0]) or place[0] == "localhost")):
        which = "the name of its service" if by_name else "an address that speaks plain HTTP"
        raise RefusalError(f"say where the gateway is found, which gets what is not handed over: --gateway HOST:PORT, {which}")
    return Surroundings("gateway", place, found)


def _place(option: str, text: str, *, anywhere: bool = False) -> tuple[str, int]:
    from gateway.settings import parse_address

    try:
        place = parse_address(text)
    except ValueError as error:
        raise RefusalError(f"{option}: {error}") from None
    if isinstance(place, str) or not (place[1] or anywhere):
        raise RefusalError(f"{option}: write HOST:PORT, not {text[:80]!r}")
    return place


def _listening(config: Config) -> tuple[str, int] | None:
    from gateway.settings import parse_address

    for text, secure in config.gateway.addresses:
        place = parse_address(text)
        if not secure and isinstance(place, tuple) and place[1] and place[0] not in _ANY:
            return place
    return None


def listening_on(text: str) -> tuple[str, int]:
    """Where Envoy listens; port 0 takes a free one.

    Raises:
        RefusalError: nobody can.
    """
    return _place("--listen", text, anywhere=True)


def given_up(codes: Sequence[str]) -> None:
    """
    Raises:
        RefusalError: one of `codes` cannot be given up.
    """
    from gateway.export.losses import GIVEN_UP

    for code in codes:
        if code not in GIVEN_UP:
            raise RefusalError(f"--give-up: {code[:40]!r} is none of {', '.join(GIVEN_UP)}; nothing else can be given up")


def flags(config: Config, path: Path) -> tuple[FlagState, Snapshot]:
    """As they are where they live; from Unleash's backup where it does not answer.

    Raises:
        RefusalError: nobody knows how they are.
    """
    from flags.features import FeaturesError, parse
    from gateway.cli import standing
    from gateway.cli.flags.fetched import fetched
    from gateway.cli.flags.steering import steering
    from gateway.export.plan import FlagState

    snapshot = fetched(steering(path)) if config.flags.source == "unleash" else None
    snapshot = snapshot or standing.snapshot(config)
    if snapshot.source == "none":
        raise RefusalError(f"Unleash at {config.flags.url} does not answer, and {snapshot.error}: nobody knows what is settled")
    try:
        features = {feature["name"]: feature for feature in parse(snapshot.features)["features"]}
    except FeaturesError as error:
        raise RefusalError(f"the flags cannot be read: {error}") from None
    return FlagState(features, frozenset(standing.overrides(config)), dict(snapshot.refused)), snapshot
