"""What `banyan report`, `gate` and `signatures` share: the route, the span, and the store that the shipper writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.settings import Config, Route
    from shadow.gate import GateResult
    from shadow.report import RouteReport


@contextmanager
def opened(config: Path, name: str) -> Iterator[Route]:
    """The configured route `name`, with the store of its comparisons ready to be read.

    Raises:
        RefusalError: there is no such route, or nothing to read.
    """
    loaded = load_config(config)
    route = next((route for route in loaded.routes if route.name == name), None)
    if route is None:
        known = ", ".join(route.name for route in loaded.routes) or "none"
        raise RefusalError(f"{config}: there is no route {name!r}; there are: {known}")
    if route.split:
        raise RefusalError(f"{config}: the route {name!r} is split between providers: it has no candidate that is compared with legacy")
    with reading(loaded):
        yield route


@contextmanager
def stored(config: Path) -> Iterator[Config]:
    """The configuration, with the store of its comparisons ready to be read and written.

    Raises:
        RefusalError: there is nothing to read.
    """
    loaded = load_config(config)
    with reading(loaded):
        yield loaded


@contextmanager
def reading(loaded: Config) -> Iterator[None]:
    """The store of `loaded`; whatever it fails with meanwhile is a refusal in one line, with status 2.

    Raises:
        RefusalError: it is not there, or not usable.
    """
    from shadow import store
    from shadow.database import DatabaseURLError, sqlite_path

    url = loaded.shadow.database
    try:
        path = sqlite_path(url, loaded.folder)
        if path is not None and not path.exists():
            raise RefusalError(f"nothing was compared yet: there is no {path}. `banyan run` makes it")
        store.setup(url, loaded.folder)
        yield
    except (DatabaseURLError, OSError) as error:
        raise RefusalError(f"{loaded.path}: shadow.database: {error}") from error
    except store.FAILURES as error:
        reason = str(error).strip().partition("\n")[0]
        raise RefusalError(f"{loaded.path}: shadow.database can't be read: {reason}. `banyan run` brings its tables up to date") from error


def moment(since: str) -> float:
    """The Unix time of "15m" ago; "" is the beginning of all that is kept.

    Raises:
        RefusalError: it is no duration.
    """
    from gateway.units import seconds

    if not since:
        return 0.0
    try:
        return time.time() - seconds(since)
    except ValueError as error:
        raise RefusalError(f"--since: {error}") from error


def judged(route: Route, since: str) -> tuple[RouteReport, GateResult]:
    """What was counted, and the route's gate on it: since `since` ago, or else within the gate's own window.

    Raises:
        RefusalError: `since` is no duration.
    """
    from shadow import report, rulebook

    # Where no worker runs, nobody has noticed yet that a rule has expired: what it excused is still called expected.
    rulebook.settle(time.time(), [route.name])
    if not since:
        return report.gates({route.name: route.gate}, time.time())[route.name]
    counted = report.summary(route.name, moment(since))
    terms = route.gate
    return counted, report.gate_of(counted, minimum=terms.minimum, match=terms.match, coverage=terms.coverage)


def percent(share: float | None) -> str:
    """ "99.1 %"; "-" for None. Never rounded up to 100 %: that is said of no share below it."""
    if share is None:
        return "-"
    text = f"{100 * share:.2f}"
    return f"{'99.99' if text == '100.00' and share < 1 else text} %"
