"""Writes docs/reference/settings.md and metrics.md from the code, so that they cannot rot."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import Config
from gateway.settings.section import Section

DOCS = Path(__file__).resolve().parent.parent / "docs" / "reference"

_SETTINGS = """# Settings: banyan.toml

Written by `scripts/reference` from gateway/settings/.

An unknown key, a bad value or an impossible combination is an error that names the key, and nothing starts. Durations are strings with
their unit ("250ms", "2s", "14d"), sizes too ("64KiB"). `${NAME}` reads the environment. Relative paths are relative to the file.
"""


def settings() -> str:
    """docs/reference/settings.md."""
    parts = [_SETTINGS]
    for title, rows in _sections(Config, ""):
        parts.append(f"\n## {title}\n\n| key | default | |\n| --- | --- | --- |\n")
        parts += [f"| `{key}` | {default} | {text} |\n" for key, default, text in rows]
    return "".join(parts)


def _sections(model: type[BaseModel], where: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    rows = []
    inner: list[tuple[type[BaseModel], str]] = []
    texts = _texts(model)
    for name, field in model.model_fields.items():
        section, place = _section(field, f"{where}.{name}" if where else name)
        if section is not None:
            inner.append((section, place))
        else:
            rows.append((name, _default(field), texts.get(name, "").replace("\n", " ").replace("|", "\\|")))
    if rows:
        title = f"[[{where}]]" if where in ("routes", "identity.jwt.keys") else f"[{where}]"
        yield title, rows
    for section, place in inner:
        yield from _sections(section, place)


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Key → the string below it."""
    found = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, Section):
            body = next(node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
            for key, text in pairwise(body):
                match key, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                        found[name] = inspect.cleandoc(said)
    return found


def _section(field: FieldInfo, where: str) -> tuple[type[BaseModel] | None, str]:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, f"{where}.NAME" if "dict" in str(field.annotation) else where
    return None, where


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, SecretStr) or value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    described = repr(field.metadata)
    if "size" in described:
        return f'`"{_size(value)}"`'
    if "seconds" in described:
        return f'`"{_duration(value)}"`'
    return f"`{value!r}`".replace("'", '"')


def _size(value: int) -> str:
    for unit, factor in (("MiB", 1024**2), ("KiB", 1024)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}B"


def _duration(value: float) -> str:
    if value >= 86400 and value % 86400 == 0:
        return f"{value / 86400:g}d"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"


def pages() -> dict[Path, str]:
    """Every generated page."""
    return {DOCS / "settings.md": settings()}


def main() -> None:
    stale = False
    for path, text in pages().items():
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                print(f"{path.name} is out of date: run scripts/reference", file=sys.stderr)
                stale = True
        else:
            path.write_text(text)
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
