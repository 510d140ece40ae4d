"""[domains]: which domain may call which."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import field_validator

from gateway.policy.domains import OTHER
from gateway.settings.section import Section

MOST: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Domains(Section):
    """One-way calls between domains (docs/guide/domains.md). Without this section nobody looks."""

    order: list[str | list[str]]
    """From the domain that everybody may call to those that nobody may: each may call those before it. Domains that share a place, as in
    ["user", "item", ["search", "review"]], may not call one another."""
    enforce: Literal["off", "report", "block"] = "report"
    """report: calls are counted, and written to the access log. block: those against the order get 403 `domain-direction`, and no upstream
    sees them. off: nobody looks. The first two need [identity] stamp, by which a caller is known."""

    @field_validator("order", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        names = [name for each in value for name in (each if isinstance(each, list) else [each])] if isinstance(value, list) else [value]
        if not all(isinstance(name, str) for name in names) or not isinstance(value, list):
            raise ValueError('write a list of names, and of lists of names: ["user", "item", ["search", "review"]]')
        return value

    @field_validator("order")
    @classmethod
    def _order(cls, value: list[str | list[str]]) -> list[str | list[str]]:
        names = [name for each in value for name in ([each] if isinstance(each, str) else each)]
        if not names or any(not each for each in value):
            raise ValueError('name at least one domain, and none with an empty list: ["user", "item", ["search", "review"]]')
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a domain is letters, digits, '.', '_' and '-', at most 63: {name[:80]!r} is not")
        if OTHER in names:
            raise ValueError(f"no domain can be called {OTHER!r}: so everything is called that is not in the order; name it otherwise")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"{', '.join(twice)}: each domain has one place in the order")
        if len(names) > MOST:
            raise ValueError(f"{len(names)} domains: {MOST} at most")
        return value
