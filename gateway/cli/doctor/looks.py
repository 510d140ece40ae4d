"""Which looks are taken: those at Banyan itself always, the others where there is a configuration to go by."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gateway.config import Config, ConfigError, load
from gateway.doctor import broker as nats
from gateway.doctor import build, clock, configuration, flagsource, machine, modes, ports, running, stores, upstreams
from gateway.doctor.findings import Finding
from gateway.doctor.looking import Look, all_of, secrets_of


def taken(path: Path, console: str, within: float) -> tuple[bool, list[Finding]]:
    """Whether the configuration can be read, and what was found."""
    try:
        config = load(path)
    except ConfigError as error:
        todo = f"correct {path}: docs/reference/settings.md has every key" if path.exists() else "`banyan init` writes one"
        wrong = [Finding("configuration", "wrong", problem, todo) for problem in error.problems]
        return False, [*wrong, *all_of(_ours(), within)]
    return True, all_of({**_configured(config, console, within), **_ours()}, within, secrets_of(config))


def _configured(config: Config, console: str, within: float) -> dict[str, Look]:
    return {
        "configuration": partial(configuration.look, config),
        "gateway": partial(running.look, config, within),
        "ports": partial(ports.look, config),
        "flags": partial(flagsource.look, config, within),
        **{f"upstream {name}": partial(upstreams.look, config, name, within) for name in config.upstreams},
        "store": partial(stores.comparisons, config, within),
        "ledger": partial(stores.ledger, config, within),
        "console": partial(stores.console, config, console, within),
        "NATS": partial(nats.look, config, within),
        "secret files": partial(modes.look, config),
        "clock": partial(clock.look, config, within),
        "open files": partial(machine.files, config),
        "processors": partial(machine.processors, config),
    }


def _ours() -> dict[str, Look]:
    return {"edge engine": build.engine, "versions": build.versions}
