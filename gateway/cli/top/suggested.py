"""`banyan top --suggest`: what to add to banyan.toml, of which `banyan check` has nothing to say."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.config import Config

LEGACY: Final = (
    "# After any change of routes: banyan flags sync, which makes their flags (off), and banyan check.\n"
    '[upstreams]\nlegacy = "http://127.0.0.1:8001"    # your monolith\n\n'
)
"""Where there is no banyan.toml yet."""


def configuration(path: Path) -> Config | None:
    """The configuration; None: there is no such file, or nothing is in it: a shell has just made it, for what is printed.

    Raises:
        RefusalError: it cannot be used.
    """
    try:
        if not path.stat().st_size:
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusalError(f"{path} can't be read: {error.strerror}") from None
    return load_config(path)


def show(found: Mapping[str, Any], config: Config | None, path: Path, most: int, as_json: bool) -> int:
    """Prints it, on standard output alone; what it leaves out, on standard error. Exit status 1: there is nothing to suggest."""
    text, left_out = written(found, config, path, most)
    for why in left_out:
        print(f"note: {why}", file=sys.stderr)
    if as_json:
        print(json.dumps({"toml": text, "left_out": left_out}, indent=2))
    elif text:
        sys.stdout.write(text)
    if not text:
        print("banyan: nothing speaks for migrating any endpoint next; see `banyan top --sort next`", file=sys.stderr)
        return 1
    return 0


def written(found: Mapping[str, Any], config: Config | None, path: Path, most: int) -> tuple[str, list[str]]:
    """What to add at the end of the file, and what of the best could not be.

    Raises:
        RefusalError: the file that is there cannot be read.
    """
    from gateway.config import ConfigError, parse, read
    from gateway.endpoints.suggest import PLACEHOLDER, UNKNOWN, suggest

    try:
        before = read(path) if config is not None else ""
    except ConfigError as error:
        raise RefusalError(str(error)) from error
    text = "" if config is not None else LEGACY
    taken = [name for route in (config.routes if config else []) for name in (route.name, *route.flags)]
    upstreams = list(config.upstreams) if config else ["legacy"]
    by_key = {(one["method"], one["template"]): one for one in found["endpoints"]}
    left_out: list[str] = []
    count = 0
    for one in found["migrate_next"]:
        if count == most:
            break
        methods = by_key[one["method"], one["template"]]["methods"]
        suggestion = suggest(one["template"], one["method"], routes=taken, upstreams=upstreams, methods=methods)
        comment = [
            f"{one['method']} {one['template']}",
            *(f"{'+' if reason['good'] else '-'} {reason['text']}" for reason in one["reasons"]),
        ]
        comment.append("Only you can say:")
        others = ", ".join(method for method in methods if method != one["method"])
        comment += ["  " + UNKNOWN[key].format(placeholder=PLACEHOLDER, methods=others) for key in suggestion.unknown]
        more = "".join(f"# {_printable(line)}\n" for line in comment) + suggestion.toml + "\n"
        try:
            parse(path, f"{before}\n{text}{more}")
        except ConfigError as error:
            left_out.append(f"{one['method']} {one['template']} is left out: {' '.join(str(error).split())}")
            continue
        text += more
        taken.append(suggestion.name)
        taken.append(f"{suggestion.name}.shadow")
        upstreams.append(suggestion.name)
        count += 1
    return (text if count else ""), left_out


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
