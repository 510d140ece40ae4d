"""Text that every database can hold."""

from __future__ import annotations

from typing import Any, cast


def storable[Value](value: Value) -> Value:
    """`value` with NUL shown as its symbol: PostgreSQL can hold it in no text."""

    def walk(node: Any) -> Any:
        if isinstance(node, str):
            return node.replace("\0", "\N{SYMBOL FOR NULL}")
        if isinstance(node, list):
            return [walk(item) for item in node]
        if isinstance(node, dict):
            return {walk(key): walk(item) for key, item in node.items()}
        return node

    return cast("Value", walk(value))
