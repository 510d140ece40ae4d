"""[upstreams.NAME] breaker and health: when its addresses are not asked."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from gateway.settings.section import Section, host_name
from gateway.units import Timeout

ERRORS = 0.5
"""By default, for whoever has legacy or another provider in its place."""
ERRORS_OF_LEGACY = 0.9
"""By default: nobody answers in legacy's place, and half of its answers are better than none."""


class Breaker(Section):
    """When an address is not asked for a while, because it fails; `breaker = false`: never. For each address, and in each worker for
    itself. What counts as an error is no answer, and of others than legacy a 500, 502, 503 or 504."""

    errors: float | None = Field(default=None, gt=0, le=1)
    """It opens when this share of the requests within the window were errors. By default 0.5, and of legacy, in whose place nobody answers,
    0.9."""
    window: Timeout = 10.0
    """How long the requests are looked at."""
    minimum: int = Field(default=20, ge=1, le=100_000)
    """Fewer requests than this within the window say nothing."""
    open: Timeout = 5.0
    """How long the address is not asked. Then one request at a time goes there, of those whose body has come, until one is answered: that
    closes it."""


class Health(Section):
    """A request of the gateway's own to each address, by each worker, beside the clients' requests. An address that fails it is not asked
    as long as another is well; an upstream of which all addresses fail it is passed over where legacy may answer in its place."""

    path: str
    """What is asked for, by GET. 200 to 399 is well."""
    interval: Timeout = 2.0
    """From one answer to the next question, give or take a tenth."""
    timeout: Timeout = 1.0
    """How long connection and answer may take together."""
    rise: int = Field(default=2, ge=1, le=100)
    """So many good answers in a row make an address well again."""
    fall: int = Field(default=3, ge=1, le=100)
    """So many bad ones in a row make it unwell. Before the first answer it is taken to be well."""
    host: str = ""
    """The Host that is named, if it is not the address."""

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/") or not value.isascii() or not value.isprintable() or any(each in value for each in ' #\\"'):
            raise ValueError(f'a path starts with / and has neither blanks nor #: write "/healthz", for example, not {value!r}')
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        return value if value == "" else host_name(value)

    @model_validator(mode="after")
    def _possible(self) -> Health:
        if self.timeout > 60:
            raise ValueError("timeout is at most 60s: an address that takes longer is not well")
        return self
