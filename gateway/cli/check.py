"""`banyan check`: is the configuration right?"""

from __future__ import annotations

from pathlib import Path

from gateway.cli.shared import RefusalError, load_config
from gateway.identity import stamping
from gateway.tls import Certificates, TlsError, check_upstreams
from gateway.usable import unfit_keys, unfit_nats, unswitchable


def check(*, config: Path = Path("banyan.toml")) -> int:
    """Says whether the configuration and the flag file can be used, and starts nothing.

    Example: banyan check --config banyan.toml

    Parameters
    ----------
    config
        The file to check.
    """
    loaded = load_config(config)
    try:
        for warning in (*Certificates(loaded).read(), *check_upstreams(loaded)):
            print(f"warning: {warning}")
        stamping.check(loaded)
    except (TlsError, stamping.StampKeyError) as error:
        raise RefusalError(f"{loaded.path}: {error}") from error
    if problems := unfit_keys(loaded) + unfit_nats(loaded) + unswitchable(loaded):
        raise RefusalError("\n".join(f"{loaded.path}: {problem}" for problem in problems))
    if loaded.flags.source == "file":
        from flags.features import parse
        from flags.file import FlagFileError, read
        from flags.splits import wrong

        path = loaded.resolve(loaded.flags.path)
        try:
            known = {feature["name"]: feature for feature in parse(read(path))["features"]}
        except FlagFileError as error:
            raise RefusalError(str(error)) from error
        for route in loaded.routes:
            for flag, role in route.flags.items():
                if flag not in known:
                    counts = "the configured weights are in force" if role == "split" else "it counts as off"
                    print(f"note: no flag {flag!r} in {path}; {counts}. `banyan flags sync` makes it")
        for split in loaded.splits:
            for problem in wrong(known[split.flag], split) if split.flag in known else ():
                print(f"warning: flag {split.flag!r} in {path}: {problem}")
    routes = ", ".join(route.name for route in loaded.routes) or "none"
    print(f"{config}: fine. Routes: {routes}")
    return 0
