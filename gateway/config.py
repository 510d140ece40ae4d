"""Reads banyan.toml: either a Config that everything may rely on, or one ConfigError with every mistake in it.

Keys of the design that this version does not carry out yet are refused by name: a limit that is read and then ignored would be a lie.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.settings import Config, parse_address

__all__ = ["Config", "ConfigError", "load", "parse", "parse_address", "read"]

EXPECTED = {
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a whole number of fewer digits",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number that is finite",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected {ge:g} or more",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected {le:g} or less",
    "literal_error": "expected {expected}",
    "too_short": 'expected a list with something in it: ["…"]',
    "extra_forbidden": "unknown key; remove it or correct its spelling (docs/reference/settings.md lists all)",
    "string_type": 'expected text in quotes: "…"',
    "list_type": 'expected a list: ["…", "…"]',
    "dict_type": "expected a table of names and values",
    "model_type": "expected a table of its own: [section]",
    "model_attributes_type": "expected a table of its own: [section]",
}
"""In place of pydantic's words for a wrong value, what would be right. {…} is what pydantic knows of the limit."""

MISSING = {
    "upstreams": '[upstreams]  with  legacy = "http://host:port"',
    "name": 'name = "reviews"',
    "match": 'match = "/api/v1/reviews/*"',
    "algorithms": 'algorithms = ["RS256"], those that tokens are signed by',
    "algorithm": 'algorithm = "RS256", what the key is for',
    "order": 'order = ["user", "item", ["search", "review"]], from whom all may call to whom nobody may',
    "rate": "rate = 50, requests a second",
    "candidate": 'candidate = "reviews"  and  reviews = "http://host:port"  under [upstreams]',
}
"""Every key that has no default, with an example."""

_SECRET_LENGTH = 4
"""What is shorter is nobody's secret, and part of every other word."""
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(Exception):
    """The file cannot be used. `problems` holds one line for each mistake: what, where, and what would be right."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


def load(path: str | Path) -> Config:
    """Reads and validates `path`.

    Raises:
        ConfigError: it cannot be read, is not TOML, or anything in it is wrong; every mistake is listed.
    """
    path = Path(path)
    return parse(path, read(path))


def read(path: Path) -> str:
    """The file's text.

    Raises:
        ConfigError: it cannot be read, or is not text.
    """
    try:
        # Not blocking: a named pipe that nobody writes is an error here, not a wait without end.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            kind = os.fstat(number).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise ConfigError(path, ["is not a file; name another with --config FILE"])
            return file.read().decode()
    except OSError as error:
        raise ConfigError(path, [f"cannot be read ({error.strerror}); name another with --config FILE"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"is not UTF-8 (byte {error.start})"]) from error


def parse(path: Path, text: str) -> Config:
    """Validates `text`, which is what `path` holds, or held when it was read.

    Raises:
        ConfigError: as `load`.
    """
    problems: list[str] = []
    taken: dict[str, str] = {}
    try:
        document = _substitute(tomllib.loads(text), "", problems, taken)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"is not TOML: {error}"]) from error
    except ValueError as error:  # of Python's own, for a number of more than 4,300 digits
        raise ConfigError(path, ["holds a number with too many digits"]) from error
    except RecursionError as error:
        raise ConfigError(path, ["is nested too deeply"]) from error
    if problems:
        raise ConfigError(path, problems)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        # Without its cause: pydantic's own message repeats the values.
        raise ConfigError(path, [_problem(item, document, taken) for item in error.errors()]) from None
    config._path = path.absolute()  # noqa: SLF001 - a private attribute is how pydantic keeps it out of the schema
    collisions = config.collisions()
    if collisions:
        raise ConfigError(path, [_hidden(problem, taken) for problem in collisions])
    return config


def _substitute(value: Any, where: str, problems: list[str], taken: dict[str, str]) -> Any:
    """`value` with ${NAME} replaced from the environment, at every depth. `taken` gets what was read, and how the file has it."""
    if isinstance(value, dict):
        return {key: _substitute(item, f"{where}.{key}" if where else key, problems, taken) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, f"{where}[{index}]", problems, taken) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            problems.append(f"{where}: the environment has no {name}; set it, or write the value here")
            return ""
        taken[os.environ[name]] = found[0]
        return os.environ[name]

    if "\0" in value:
        problems.append(f"{where}: holds a NUL character; remove it")
    filled = VARIABLE.sub(replace, value)
    if filled != value:
        taken[filled] = value
    return filled


def _hidden(message: str, taken: Mapping[str, str]) -> str:
    """`message` with what came from the environment as the file has it: it may be a secret."""
    spelt: dict[str, str] = {}
    for text, written in taken.items():
        if len(text) >= _SECRET_LENGTH:
            spelt[text.lower()] = spelt[repr(text)[1:-1].lower()] = written
        spelt[repr(text).lower()] = repr(written)
    if not spelt:
        return message
    longest_first = "|".join(re.escape(text) for text in sorted(spelt, key=len, reverse=True))
    # Some names are compared, and shown, in lower case.
    return re.sub(longest_first, lambda found: spelt.get(found[0].lower(), "…"), message, flags=re.IGNORECASE)


def _shape(where: tuple[str | int, ...], otherwise: str) -> str:
    """What belongs in a place that holds something else than a list or a table."""
    if where[:1] == ("routes",) and len(where) < 3:
        return "write [[routes]] with double brackets, once for each route"
    if where == ("upstreams",):
        return 'write [upstreams] and below it  legacy = "http://host:port"'
    if len(where) == 2 and where[0] == "upstreams":
        return 'write "http://host:port", or a table with url = "http://host:port"'
    return otherwise


def _problem(item: Any, document: Mapping[str, Any], taken: Mapping[str, str]) -> str:
    """One pydantic error as one line that names the key."""
    where = ""
    for part in item["loc"]:
        where += f"[{part}]" if isinstance(part, int) else (f".{part}" if where else str(part))
    if item["type"] == "missing":
        key = item["loc"][-1]
        message = f"is missing: add  {MISSING.get(key, f'{key} = …')}"
    elif item["type"] in EXPECTED:
        message = EXPECTED[item["type"]].format_map(item.get("ctx", {}))
        if item["type"] in ("list_type", "dict_type", "model_type", "model_attributes_type"):
            message = _shape(item["loc"], message)
    else:
        message = str(item["msg"]).removeprefix("Value error, ").removeprefix(f"{where}: ")
    message = _hidden(message, taken)
    if len(item["loc"]) > 1 and item["loc"][0] == "routes" and isinstance(item["loc"][1], int):
        route = document.get("routes", [])[item["loc"][1]]
        if isinstance(route, dict) and isinstance(route.get("name"), str):
            where += _hidden(f" (route {route['name']!r})", taken)
    return f"{where}: {message}" if where else message
