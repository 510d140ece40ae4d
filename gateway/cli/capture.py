"""`banyan capture`: what a running gateway compares, written to a recording."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.cli.capturing import Captured

type Form = Literal["mitm", "har", "jsonl"]


def capture(
    *,
    to: Path,
    route: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    sample: float = 1.0,
    for_: Annotated[str, Parameter(name="--for")] = "60s",
    count: int = 0,
    max_bytes: str = "100MiB",
    form: Annotated[Form | None, Parameter(name="--format")] = None,
    admin: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Writes down what a running gateway on this machine compares: each request, and the answer that its client got.

    Example: banyan capture --to traffic.mitm --route reviews --for 5m --sample 0.1

    What is captured is what the shadow takes: requests of routes whose flag <flag>.shadow is on, as [routes.shadow] samples them. It is
    redacted by [shadow] redact before it leaves the shipper; credentials never come so far. The file is readable by you alone. Exit
    status 1: nothing was captured.

    Parameters
    ----------
    to
        The file: .mitm (a mitmproxy flow file), .har, or .jsonl. What was there is replaced, at the end.
    route
        Only this route; may be given several times.
    sample
        The share of what is compared that is captured, from 0 to 1.
    for_
        How long, such as 30s, 5m or 2h.
    count
        At most so many requests; 0: as many as come.
    max_bytes
        The file's size at most, such as 10MiB.
    form
        The format, if the file's name does not say it.
    admin
        The gateway's admin port, HOST:PORT, if not [gateway] admin.
    config
        The configuration.
    as_json
        For machines: what was captured, and what was not.
    """
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.capturing import CaptureError, Limits, run
    from gateway.cli.shapes import Capture
    from gateway.units import seconds, size
    from recorded.reading import Format
    from recorded.writing import form_of

    loaded = load_config(config)
    try:
        limits = Limits(seconds(for_), count, size(max_bytes))
    except ValueError as error:
        raise RefusalError(f"--for or --max-bytes: {error}") from error
    if limits.seconds <= 0 or count < 0 or limits.bytes <= 0:
        raise RefusalError("--for, --count and --max-bytes: in no time, and without room, nothing is captured")
    if not 0 < sample <= 1:
        raise RefusalError(f"--sample {sample:g}: write a share above 0, up to 1")
    chosen = Format(form) if form is not None else form_of(to)
    if chosen is None:
        raise RefusalError(f"--to {to}: its name does not say the format: end it in .mitm, .har or .jsonl, or add --format")
    place = admin or loaded.gateway.admin

    def ask() -> dict[str, Any]:
        try:
            found: dict[str, Any] = AdminPort(place).get("/capture", kind=Capture)
        except AdminPortError as error:
            raise CaptureError(f"{error}. Traffic is captured of a gateway that runs on this machine") from None
        return found

    try:
        _look(ask()["routes"], route)
        captured = run(ask, to, chosen, list(route), sample, limits)
    except CaptureError as error:
        raise RefusalError(str(error)) from error
    _tell(captured, to, as_json=as_json)
    return 0 if captured.entries else 1


def _look(routes: list[dict[str, Any]], wanted: tuple[str, ...]) -> None:
    """Says what will not be captured, before anybody waits for it.

    Raises:
        RefusalError: there is no such route.
    """
    known = {route["name"]: route for route in routes}
    for name in wanted:
        if name not in known:
            raise RefusalError(f"the gateway has no route {name!r} with a candidate; it has: {', '.join(known) or 'none'}")
    for name, route in known.items():
        if (not wanted or name in wanted) and not route["enabled"]:
            print(f"note: of {name} nothing is captured while its flag is off: banyan flags on {route['flag']}", file=sys.stderr)


def _tell(captured: Captured, to: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(captured.plain(to), indent=2))
        return
    counts = captured.counts
    what = f"{captured.entries} requests captured" + (f" to {to} ({captured.bytes} bytes)" if captured.entries else ": no file was made")
    print(f"{what}; ended by {captured.ended}")
    print(
        f"  of {counts.seen} that were compared: {counts.sampled_out} left out by --sample, {counts.dropped} dropped for want of room, "
        f"{counts.failed} could not be redacted, {captured.unwritten} not written"
    )
