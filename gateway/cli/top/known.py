"""What is known of endpoints beforehand: a Django URLconf, told by a process of its own, or an OpenAPI document."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from gateway.endpoints.declared import Declared

SECONDS: Final = 120.0
"""For a project to be imported."""
MOST: Final = 32 * 2**20
"""Bytes of a document."""
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_SETTINGS: Final = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")


def declared(urlconf: str, openapi: Path | None, python: str) -> Declared | None:
    """What was named; None: nothing was.

    Raises:
        RefusalError: it cannot be read.
    """
    if openapi is None and not urlconf:
        return None
    from gateway.endpoints.declared import DeclarationError, from_openapi, from_urlconf

    try:
        if openapi is not None:
            return from_openapi(_document(openapi))
        known, refused = from_urlconf(told(urlconf, python or sys.executable))
    except DeclarationError as error:
        raise RefusalError(f"{openapi or urlconf}: {error}") from None
    if refused:
        print(f"note: {len(refused)} of {urlconf}'s patterns cannot be used, such as {refused[0]}", file=sys.stderr)
    return known


def _document(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise RefusalError(f"{path} can't be read: {error.strerror or error}") from None
    if len(data) > MOST:
        raise RefusalError(f"{path} has more than {MOST // 2**20} MiB: that is no OpenAPI document")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        if path.suffix.lower() == ".json" or data.lstrip()[:1] == b"{":
            raise RefusalError(f"{path} is no JSON: {error}") from None
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError:
        raise RefusalError(f"{path} is no JSON, and to read YAML ruamel.yaml is needed: install it, or convert the document") from None
    try:
        return YAML(typ="safe", pure=True).load(data.decode())
    except (YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RefusalError(f"{path} is neither JSON nor YAML: {reason}") from None


def told(urlconf: str, python: str, folder: Path = Path()) -> Any:
    """What `shadow/urlconf.py` says of it, run with the project's own Django in `folder`. "": of its settings' ROOT_URLCONF.

    Raises:
        RefusalError: it is no module's name, or cannot be imported.
    """
    if urlconf and not _MODULE.fullmatch(urlconf):
        raise RefusalError(f"--urlconf is the name of a module, such as shop.urls: {urlconf!r} is none")
    source = (Path(__file__).resolve().parents[3] / "shadow" / "urlconf.py").read_text()
    settings = _settings(urlconf, folder)
    named = urlconf or "the project's URLconf"
    if "/" in python:
        python = str(Path(python).absolute())  # it is run in another folder; links stay, or a virtual environment would be left
    with tempfile.TemporaryFile() as answer:
        command = [python, "-c", source, urlconf, str(answer.fileno())]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings}
        try:
            done = subprocess.run(  # noqa: S603 - the user's own project, as was asked for
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
                pass_fds=[answer.fileno()], cwd=folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RefusalError(f"{named} was not imported within {SECONDS:g} s") from None
        except OSError as error:
            raise RefusalError(f"{python} can't be run: {error.strerror}") from None
        answer.seek(0)
        data = answer.read(MOST)
    if done.returncode or not data:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise RefusalError(
            f"{named} can't be imported with the settings {settings}: {said[-1][:300]}. It is looked for in this folder; "
            "DJANGO_SETTINGS_MODULE names other settings, --python another Python"
        )
    try:
        return json.loads(data)
    except ValueError:
        raise RefusalError(
            f"what {named} was told as cannot be read: it is more than {MOST // 2**20} MiB, or something else wrote there"
        ) from None


def _settings(urlconf: str, folder: Path) -> str:
    """Of the environment, or beside the URLconf, or as manage.py has it.

    Raises:
        RefusalError: there are none.
    """
    given = os.environ.get("DJANGO_SETTINGS_MODULE")
    if given:
        return given
    if urlconf:
        parent = urlconf.rpartition(".")[0]
        beside = f"{parent}.settings" if parent else "settings"
        place = folder.joinpath(*beside.split("."))
        if place.with_suffix(".py").exists() or _says_something(place / "__init__.py"):
            return beside
    try:
        found = _SETTINGS.search((folder / "manage.py").read_text(errors="replace"))
    except OSError:
        found = None
    if found is None:
        named = urlconf or "its URLconf"
        raise RefusalError(f"{named} needs its project's settings: set DJANGO_SETTINGS_MODULE, or go to the folder with manage.py")
    return found[1]


def _says_something(package: Path) -> bool:
    """Settings of several files (base, dev, production) leave the package's own empty: then manage.py knows which of them is meant."""
    try:
        return bool(package.read_text(errors="replace").strip())
    except OSError:
        return False
