"""`banyan check`: is the configuration right?"""

from __future__ import annotations

from pathlib import Path

from gateway.cli.shared import RefusalError, load_config


def check(*, config: Path = Path("banyan.toml")) -> int:
    """Says whether the configuration and the flag file can be used, and starts nothing.

    Example: banyan check --config banyan.toml

    Parameters
    ----------
    config
        The file to check.
    """
    loaded = load_config(config)
    if loaded.flags.source == "file":
        from flags.features import FeaturesError, parse

        path = loaded.resolve(loaded.flags.path)
        try:
            known = {feature["name"] for feature in parse(path.read_bytes())["features"]}
        except OSError as error:
            raise RefusalError(
                f"{path}: cannot be read ({error.strerror}); create it with: banyan flags off {_first_flag(loaded)}"
            ) from error
        except FeaturesError as error:
            raise RefusalError(f"{path}: {error}") from error
        for route in loaded.routes:
            for flag in (route.serve_flag, route.shadow_flag):
                if flag not in known:
                    print(f"note: no flag {flag!r} in {path}; it counts as off")
    routes = ", ".join(route.name for route in loaded.routes) or "none"
    print(f"{config}: fine. Routes: {routes}")
    return 0


def _first_flag(config: object) -> str:
    routes = getattr(config, "routes", [])
    return routes[0].serve_flag if routes else "NAME"
