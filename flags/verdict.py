"""What Unleash's engine itself makes of a document: which flags it took, and which of them it could not compile.

It refuses a document as a whole for one wrong type anywhere in it. What has the right types and still can't be compiled (an unknown
operator, a version that is none) it takes, and that flag is off for everybody; its binding for Python throws these warnings away. They
are read here, through what the binding has public.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

_WARNING: Final = re.compile(r'EvalWarning \{ toggle_name: "((?:[^"\\]|\\.)*)", message: "((?:[^"\\]|\\.)*)" \}')
_PARSE_ERROR: Final = re.compile(r'StrategyParseError\("(.*)"\)', re.DOTALL)


class Verdict:
    """The engine, holding what it took of one document."""

    def __init__(self, data: bytes) -> None:
        """Takes 40 ms for 1,000 flags, in which other threads of the interpreter run. Whether it took them: `flags`.

        Raises:
            UnicodeDecodeError: `data` is not UTF-8.
        """
        data.decode()
        self.engine = UnleashEngine()
        library = self.engine.lib
        # `take_state` would parse the whole document once more, for custom strategies that nobody has, and drop the warnings.
        with self.engine.materialize_pointer(library.take_state(self.engine.state, data), list) as answer:
            self._said = answer.error_message or ""

    def flags(self) -> set[str]:
        """The names that it knows. None, where it refused the document."""
        return {definition.name for definition in self.engine.list_known_toggles()}

    def uncompiled(self) -> dict[str, str]:
        """Which flags are off for everybody because they could not be compiled, and what it says of each."""
        found: dict[str, str] = {}
        for name, message in _WARNING.findall(self._said):
            found.setdefault(_unescaped(name), _why(_unescaped(message)))
        return found

    def enabled(self, flag: str, context: dict[str, Any]) -> bool:
        """Its answer, uncounted."""
        return bool(self.engine.check_enabled(flag, context).is_enabled)


def _why(message: str) -> str:
    """Rule errors have a drawing of the place below: one line of it is enough."""
    found = _PARSE_ERROR.search(message)
    return _unescaped(found[1] if found else message).splitlines()[0].removesuffix(":  --> 1:1").strip()


def _unescaped(text: str) -> str:
    """Rust's `{:?}` of a string is close to JSON's; where it is not, it is good enough to be read by a person."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except json.JSONDecodeError:
        return text
