"""[console]: what `banyan console` looks at beside the database."""

from __future__ import annotations

from pydantic import field_validator

from gateway.settings.addresses import parse_address
from gateway.settings.section import Section

MOST_GATEWAYS = 16


class Console(Section):
    """The pages on which people decide."""

    gateways: list[str] = []
    """The admin ports of the gateways that it looks at and that operators act on, 16 at most: ["127.0.0.1:9900", "unix:/run/b/admin.sock"].
    By default that of [gateway] admin alone. They have no token and listen on loopback: another machine's is reached through a tunnel."""

    events: list[str] = []
    """Where the relays and followers of events say how they stand, which is their `--metrics`, 16 at most: ["127.0.0.1:9911",
    "127.0.0.1:9912"]. The console's page of events shows them; without any there is none."""

    @field_validator("gateways")
    @classmethod
    def _gateways(cls, value: list[str]) -> list[str]:
        return addresses(value)

    @field_validator("events")
    @classmethod
    def _events(cls, value: list[str]) -> list[str]:
        return addresses(value, "an address", "addresses")


def addresses(given: list[str], one: str = "an admin port", many: str = "gateways") -> list[str]:
    """Places that can be asked, each once; admin ports, or what else `one` and `many` call them.

    Raises:
        ValueError: one is none, or is there twice, or there are too many.
    """
    for each in given:
        place = parse_address(each)
        if isinstance(place, tuple) and place[1] == 0:
            raise ValueError(f"{each!r}: port 0 is any free one, and nobody could ask it")
    if len(set(given)) != len(given):
        raise ValueError(f"{one} is named twice")
    if len(given) > MOST_GATEWAYS:
        raise ValueError(f"{len(given)} {many}: {MOST_GATEWAYS} at most")
    return given
