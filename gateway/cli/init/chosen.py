"""What a Django project has that a migration could begin with, the easiest first."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.cli.shared import RefusalError

_API: Final = re.compile(r"api|rest|v\d+(?:\.\d+)?", re.IGNORECASE)
_NOBODYS: Final = re.compile(r"(?:[a-z-]*-)?admin|static|media|_.*|__.*|accounts?|login|logout", re.IGNORECASE)
"""First segments below which nothing is that one begins with: Django's own, files, and who is logged in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody said; "" and (): nothing."""

    legacy: str = ""
    candidate: str = ""
    routes: tuple[str, ...] = ()
    listen: str = ""
    admin: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One endpoint of the URLconf."""

    template: str
    methods: tuple[str, ...]
    """Empty: it does not say."""
    login: bool | None
    """Whether it needs one; None: it does not say."""
    why: str
    """By what that is known."""
    written: bool = False
    """Somebody wrote it, and it is in no URLconf: it stays as it is."""

    @property
    def readable(self) -> bool:
        """Asking for it changes nothing, as far as its methods say: only such requests are compared without more ado."""
        return not self.methods or "GET" in self.methods


def endpoints(project: Path, urlconf: str, python: str) -> list[Found]:
    """Those of the project in this folder, in the order in which one would begin. Without a manage.py, and with no `urlconf` given, none.

    Raises:
        RefusalError: a URLconf that was named cannot be read.
    """
    if not project.is_dir():
        raise RefusalError(f"--project {project}: there is no such folder")
    if not urlconf and not (project / "manage.py").exists():
        if python or project != Path():
            raise RefusalError(
                f"{project / 'manage.py'}: there is no such file: --project names the folder that has it, or --urlconf its URLconf"
            )
        return []
    from gateway.cli.top.known import told

    try:
        document = told(urlconf, python or sys.executable, project)
    except RefusalError as error:
        if urlconf or python:
            raise
        print(f"note: {error}. Written without it", file=sys.stderr)
        return []
    return ranked(document)


def ranked(document: Any) -> list[Found]:
    """What `shadow/urlconf.py` told, the easiest first: what looks like an API, needs no login, and has few parameters.

    Raises:
        RefusalError: it is something else.
    """
    try:
        found = [Found(one["template"], tuple(one["methods"] or ()), one["login"], one["why"]) for one in document["endpoints"]]
    except (KeyError, TypeError) as error:
        raise RefusalError(f"what was told of the URLconf cannot be read: {error!r}") from None
    once = {one.template: one for one in reversed(found)}  # the first of a template is the one that Django takes
    return sorted((one for one in reversed(once.values()) if one.readable and _anybodys(one.template)), key=_hard)


def _anybodys(template: str) -> bool:
    first = template.split("/")[1]
    # What begins with a parameter takes in everything, as the pages of a CMS do: that is no place to begin.
    return bool(first) and "{" not in first and first != "*" and not _NOBODYS.fullmatch(first)


def _hard(one: Found) -> tuple[bool, int, int, int]:
    parts = [part for part in one.template.split("/") if part]
    api = any(_API.fullmatch(part) for part in parts)
    return not api, {False: 0, None: 1, True: 2}[one.login], sum("{" in part or part == "*" for part in parts), len(parts)
