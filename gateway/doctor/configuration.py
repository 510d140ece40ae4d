"""Whether the configuration can be carried out, by the judges that a start and `banyan check` ask; none of them is let write anything."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gateway.config import Config
from gateway.doctor.findings import Finding

_ABOUT = "configuration"


def look(config: Config) -> Sequence[Finding]:
    """What stands against it on this machine."""
    from gateway import tls
    from gateway.identity import stamping
    from gateway.usable import unfit_keys, unfit_nats, unswitchable

    problems: list[str] = []
    warnings: list[str] = []
    for judge in (tls.Certificates(config).read, lambda: tls.check_upstreams(config)):
        try:
            warnings += judge()
        except tls.TlsError as error:
            problems.append(str(error))
    try:
        stamping.check(config)
    except stamping.StampKeyError as error:
        problems.append(str(error))
    problems += unfit_keys(config) + unfit_nats(config) + unswitchable(config) + _unwritable(config)
    found = [Finding(_ABOUT, "wrong", problem, f"correct {config.path}; `banyan check` tells the same") for problem in problems]
    found += [Finding(_ABOUT, "warning", warning) for warning in warnings]
    routes, upstreams = len(config.routes), len(config.upstreams)
    return found or [Finding(_ABOUT, "fine", f"{config.path}: {_count(routes, 'route')}, {_count(upstreams, 'upstream')}")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _unwritable(config: Config) -> list[str]:
    """Logs that cannot be written. They are not opened: that would make them."""
    problems = []
    for key, target in (("gateway.access_log", config.log_target), ("flags.impressions", config.impressions_target)):
        if target in ("", "-") or os.access(target, os.W_OK):
            continue
        folder = os.path.dirname(target)  # noqa: PTH120 - as text: it is not resolved
        if os.path.exists(target) or not os.access(folder, os.W_OK | os.X_OK):  # noqa: PTH110 - likewise
            problems.append(f"{key}: {target} cannot be written")
    return problems
