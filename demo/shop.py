"""The shop and its two new services as running processes, for the demo, the drills and the tests.

Everything that they keep goes into the folder that the caller names. Several sets may run at once.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.processes import ROOT, Running, StartError, answers, listen, python, start
from legacy_django.accounts.seeded import PASSWORD, USERS
from services.faults import Fault

__all__ = [
    "PASSWORD", "USERS", "Shop", "manage_shop", "shop_environment", "start_product_view", "start_recommendations", "start_reviews",
    "start_shop",
]  # fmt: skip

# 50 sign-ins within seconds, with a password that everybody knows: legacy_django/accounts/hashers.py says why that is no lesson.
_CHEAP_SIGN_IN = {"BANYAN_SHOP_PASSWORD_ITERATIONS": "1000"}


@dataclass(slots=True)
class Shop(Running):
    """The running shop, and where its data is."""

    database: str
    """Its DATABASE_URL."""


def start_shop(
    workdir: Path,
    workers: int = 2,
    *,
    database: str | None = None,
    port: int = 0,
    access_log: Path | None = None,
    env: Mapping[str, str] | None = None,
    seed: bool = True,
) -> Shop:
    """Makes, seeds and serves a shop under gunicorn. `database` is a PostgreSQL URL; without one it is SQLite in `workdir`. `seed`: False
    where it was seeded before.

    `access_log` gets a line, "METHOD /path STATUS", for each request that the shop answered. `env` is what of legacy_django/settings.py's
    variables is to be set beside these.

    Raises:
        StartError: it could not be seeded or did not come up.
    """
    url, environment = _shop_environment(workdir, database, env)
    if seed:
        _run("seeding the shop", python("legacy_django/manage.py", "seed"), environment)
    gunicorn = python(
        "-m", "gunicorn", "--config", "python:legacy_django.gunicorn_config", "--bind", "fd://{fd}", "--workers", str(workers),
        *(["--access-logfile", str(access_log), "--access-logformat", "%(m)s %(U)s %(s)s"] if access_log else []),
        "legacy_django.wsgi",
    )  # fmt: skip
    running = start("shop", gunicorn, log_dir=workdir, sock=listen(port), env=environment, ready=answers("/healthz"))
    return Shop(running.name, running.process, running.log, running.port, url)


def manage_shop(workdir: Path, *arguments: str, database: str | None = None) -> str:
    """What one of the shop's management commands prints, of the shop that `start_shop` serves with the same `workdir` and `database`.

    Raises:
        StartError: it failed.
    """
    _, environment = _shop_environment(workdir, database, None)
    return _run(f"manage.py {arguments[0]}", python("legacy_django/manage.py", *arguments), environment)


def shop_environment(workdir: Path, database: str | None = None) -> dict[str, str]:
    """What a management command of that shop needs to be told."""
    return _shop_environment(workdir, database, None)[1]


def _shop_environment(workdir: Path, database: str | None, env: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
    """(its DATABASE_URL, its environment)"""
    workdir = workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    url = database or f"sqlite:///{workdir / 'shop.sqlite3'}"
    return url, {
        "DJANGO_SETTINGS_MODULE": "legacy_django.settings",  # whoever starts it may be the console
        "BANYAN_SHOP_VAR": str(workdir),
        "DATABASE_URL": url,
        **_CHEAP_SIGN_IN,
        **(env or {}),
    }


def start_reviews(
    workdir: Path, shop: Shop, faults: Iterable[Fault] = (), *, port: int = 0, stamp_key: str = "", tells: bool = False
) -> Running:
    """Fills the reviews service from the shop and serves it. To switch faults, stop it and start it anew on the same port.

    `stamp_key`: the secret of a gateway's stamps; it refuses what is not stamped for it. Without, reading is open and nobody can write.
    `tells`: what is written at it goes into its outbox, for the shop.

    Raises:
        StartError: it could not be filled or did not come up.
    """
    return _start_service("reviews", workdir, shop, faults, port, stamp_key, ["--outbox"] if tells else [])


def start_recommendations(workdir: Path, shop: Shop, faults: Iterable[Fault] = (), *, port: int = 0, stamp_key: str = "") -> Running:
    """Fills the recommendations service from the shop and serves it, like `start_reviews`.

    Raises:
        StartError: it could not be filled or did not come up.
    """
    return _start_service("recommendations", workdir, shop, faults, port, stamp_key)


def start_product_view(workdir: Path, shop: Shop, *, port: int = 0, stamp_key: str = "") -> Running:
    """Fills the product view from the shop and serves it, like `start_reviews`.

    Raises:
        StartError: it could not be filled or did not come up.
    """
    return _start_service("product_view", workdir, shop, (), port, stamp_key)


def _start_service(
    name: str, workdir: Path, shop: Shop, faults: Iterable[Fault], port: int, stamp_key: str, importing: Sequence[str] = ()
) -> Running:
    workdir = workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    module = f"services.{name}"
    environment = {f"BANYAN_{name.upper()}_DB": str(workdir / f"{name}.sqlite3"), "BANYAN_FAULTS": ",".join(faults)}
    if stamp_key:
        environment["BANYAN_STAMP_KEYS"] = stamp_key
    _run(f"filling {name}", python("-m", module, "import", "--from", shop.database, *importing), environment)
    command = python("-m", module, "serve", "--fd", "{fd}")
    return start(name, command, log_dir=workdir, sock=listen(port), env=environment, ready=answers("/healthz"))


def _run(what: str, command: list[str], environment: Mapping[str, str]) -> str:
    """What it prints."""
    try:
        done = subprocess.run(  # noqa: S603 - the commands are this project's own
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"{what} took more than {error.timeout:g} s") from error
    if done.returncode:
        raise StartError(f"{what} failed with status {done.returncode}:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout
