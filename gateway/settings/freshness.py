"""[routes.shadow.compare.freshness]: a candidate that is fed from elsewhere, and so a little behind."""

from __future__ import annotations

from pydantic import model_validator

from gateway.settings.section import Section
from gateway.units import Timeout
from shadow import freshness


class Freshness(Section):
    """Where answers say how fresh they are. What legacy changed after the moment that the candidate is as of is no mismatch for `max_age`,
    and no match: it is skipped as `stale` (docs/guide/comparing.md)."""

    max_age: Timeout
    """How old a candidate's answer may be. What differs in an older one is a mismatch."""
    as_of: str | dict[str, str]
    """Where the candidate says as of when it is: all that was changed before then is in it. A header, such as Age (seconds) or any other
    with a date, or a place in its JSON. Or parts of the answer, each with its own: { "$.stock" = "$.as_of.stock" }; of several that hold a
    difference the longest counts."""
    last_modified: str | dict[str, str]
    """Where legacy says when it last changed what it shows, written likewise: Last-Modified, or { "$.stock" = "$.changed.stock" }. What
    differs in a part of which it says nothing is a mismatch."""

    @model_validator(mode="after")
    def _readable(self) -> Freshness:
        for given in (self.as_of, self.last_modified):
            if not given:
                raise ValueError("as_of and last_modified name what answers say; without either nothing can be told from a mismatch")
        freshness.Freshness.make(**self.model_dump())
        return self
