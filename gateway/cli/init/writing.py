"""The banyan.toml that `banyan init` writes, the flags beside it, and what it says of both."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.init import CANDIDATE, LEGACY
from gateway.cli.init.chosen import Found, Wanted
from gateway.cli.shared import RefusalError

_MORE: Final = 8
"""Endpoints that are written as comments, to go on with."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A route that was written."""

    name: str
    match: str


def text(wanted: Wanted, found: Sequence[Found], path: Path) -> tuple[str, list[Begun]]:
    """What to write, and its routes. It was loaded as the gateway loads it.

    Raises:
        RefusalError: something that was said cannot stand there.
    """
    from gateway.config import ConfigError, parse

    known = {one.template: one for one in found}
    chosen = [known.get(template) or Found(_path(template), (), None, "", written=True) for template in wanted.routes]
    if not chosen:
        chosen = [one for one in found if _fits(one, path)][:1]
    head = _head(wanted, len(found))
    names: list[str] = []
    routes = [_route(one, names) for one in chosen]
    upstream = routes[0][0].name if routes and routes[0][0].name != "legacy" else "candidate"
    head += f"\n[upstreams]\nlegacy = {_text(wanted.legacy or LEGACY)}    # your monolith\n"
    if routes:
        head += f"{_key(upstream)} = {_text(wanted.candidate or CANDIDATE)}    # the new service\n"
    body = "".join(f"\n{lines}" for _, lines in routes).replace(_UPSTREAM, _text(upstream))
    try:
        parse(path, head + body)
    except ConfigError as error:
        raise RefusalError(str(error)) from None
    # A comment that is uncommented has to be right, too.
    rest = [one for one in found if one not in chosen and _fits(one, path)][:_MORE]
    more = "".join("#\n" + _commented(_route(one, names)[1]) for one in rest).replace(_UPSTREAM, _text(upstream))
    if rest:
        more = "\n# To go on with, one after the other; each with a new service that has it:\n" + more
    elif not routes:
        more = _EXAMPLE
    return head + body + more, [begun for begun, _ in routes]


_UPSTREAM: Final = "\0"
"""Stands for the upstream's name until that is known."""
_EXAMPLE: Final = """
# A route is one API, and the new service that is to take it over:
#
# [[routes]]
# name = "reviews"
# match = "/api/v1/reviews/*"
# candidate = "reviews"    # and its address under [upstreams]
"""


def _head(wanted: Wanted, count: int) -> str:
    seen = f", of a URLconf with {count} endpoints to begin with" if count else ""
    head = f"# Written by `banyan init`{seen}.\n# Every key: docs/reference/settings.md. After a change: banyan check.\n"
    if wanted.listen or wanted.admin:
        head += "\n[gateway]\n"
        head += f"listen = [{_text(wanted.listen)}]\n" if wanted.listen else ""
        head += f"admin = {_text(wanted.admin)}\n" if wanted.admin else ""
    return head


def _route(one: Found, names: list[str]) -> tuple[Begun, str]:
    """`names`: those that are taken; this one's is added, and its flag's."""
    from gateway.endpoints.suggest import pattern, route_name

    begun = Begun(route_name(one.template, names), one.template if one.written else pattern(one.template))
    names += [begun.name, f"{begun.name}.shadow"]
    lines = f"# Its view needs a login ({_printable(one.why)}): docs/guide/identity.md.\n" if one.login else ""
    others = sorted(set(one.methods) - {"GET", "HEAD", "OPTIONS"})
    if others:
        lines += f"# {', '.join(others)} of this path stay with legacy.\n"
    lines += (
        f"[[routes]]\nname = {_text(begun.name)}\nmatch = {_text(begun.match)}\n"
        f'methods = ["GET", "HEAD"]\ncandidate = {_UPSTREAM}\n'
        "[routes.shadow]\nsample = 1.0    # less, if the new service cannot bear all of it\n"
    )
    return begun, lines


def _fits(one: Found, path: Path) -> bool:
    """A URLconf has paths that no route can name."""
    from gateway.config import ConfigError, parse

    lines = _route(one, [])[1].replace(_UPSTREAM, '"candidate"')
    try:
        parse(path, f'[upstreams]\nlegacy = "{LEGACY}"\ncandidate = "{CANDIDATE}"\n{lines}')
    except ConfigError:
        return False
    return True


def _path(template: str) -> str:
    if not template.startswith("/"):
        raise RefusalError(f"--route is a path such as /api/v1/reviews/*: {template!r} is none")
    return template


def _commented(lines: str) -> str:
    return "".join(line if line.startswith("#") else f"# {line}" for line in lines.splitlines(keepends=True))


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _printable(value: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in value)


def usable(config: Path, content: str) -> None:
    """Looks at the flag file, if there is one, before anything is written: beside one that is broken nothing is.

    Raises:
        RefusalError: its flags could not be added to.
    """
    from flags.features import FeaturesError, normalised
    from gateway.config import parse

    parsed = parse(config, content)
    path = parsed.resolve(parsed.flags.path)
    try:
        normalised(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return
    except FeaturesError as error:
        raise RefusalError(f"flag file {path}: {error}. Correct it first; nothing was changed") from None
    except OSError as error:
        raise RefusalError(f"flag file {path}: {error.strerror or error}. Nothing was changed") from None


def write(path: Path, content: str, overwrite: bool) -> None:
    """
    Raises:
        RefusalError: it cannot be written, or is there.
    """
    from flags.admin.atomic import write_atomically

    try:
        if overwrite:
            write_atomically(path, content.encode())
            return
        with path.open("x", encoding="utf-8") as file:  # whatever came in the meantime is not overwritten either
            file.write(content)
    except FileExistsError:
        raise RefusalError(f"{path} is there already: --overwrite replaces it", 1) from None
    except OSError as error:
        raise RefusalError(f"{path} cannot be written: {error.strerror or error}") from None


def flags(config: Path) -> Path:
    """Makes the flags that its routes read, off; those that are there stay. Where they are.

    Raises:
        RefusalError: the flag file cannot be read or written.
    """
    from flags.admin import sync_flags, write_atomically
    from gateway.cli.flags.home import refusing
    from gateway.cli.flags.steering import steering
    from gateway.cli.flags.sync import wanted

    where = steering(config)
    with refusing():
        sync_flags(where.file, wanted(where.reads))
        if not where.file.exists():  # no route, so no flag; without the file `banyan check` has something to say
            write_atomically(where.file, b'{"version": 1, "features": []}\n')
    return where.file


def say(config: Path, flag_file: Path, routes: Sequence[Begun], found: Sequence[Found], as_json: bool) -> None:
    """What was written, and the next three steps."""
    steps = _steps(config, routes)
    if as_json:
        written = {
            "config": str(config),
            "flags": str(flag_file),
            "endpoints": len(found),
            "routes": [{"name": route.name, "match": route.match} for route in routes],
            "next": [{"command": command, "why": why} for command, why in steps],
        }
        print(json.dumps(written, indent=2))
        return
    listed = ", ".join(f"{route.name} ({route.match})" for route in routes) or "none yet"
    print(f"{config}: written. Routes: {listed}. Their flags are off: legacy answers everything.\n\nNext:")
    width = max(len(command) for command, _ in steps)
    for number, (command, why) in enumerate(steps, 1):
        print(f"  {number}.  {command:{width}}  {why}")


def _steps(config: Path, routes: Sequence[Begun]) -> list[tuple[str, str]]:
    there = "" if config == Path("banyan.toml") else f" --config {_quoted(str(config))}"
    first = (f"banyan doctor{there}", "is everything there that is needed?")
    run = (f"banyan run{there}", "the gateway; send it the monolith's traffic")
    if not routes:
        return [first, run, (f"banyan top --suggest{there}", "what to migrate first, by what is asked for")]
    return [first, run, (f"banyan flags on {routes[0].name}.shadow{there}", "asks both and compares; banyan console shows it")]


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)
