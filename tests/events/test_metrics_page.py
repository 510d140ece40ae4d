"""docs/reference/metrics.md lists what relays and followers tell, with its labels."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from events.metrics import ConsumerMetrics, RelayMetrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"


def told(registry: CollectorRegistry) -> dict[str, str]:
    """Name → labels. A counter's samples end in _total, which is how its name is written."""
    found = {}
    for collector in {*registry._names_to_collectors.values()}:
        name = collector._name + ("_total" if collector._type == "counter" else "")
        found[name] = ", ".join(collector._labelnames)
    return found


def test_the_page_and_the_code_agree() -> None:
    section = PAGE.read_text().partition("## Relays and followers")[2]
    listed = dict(re.findall(r"^\| `(banyan_\w+)` \| ([^|]*?) ?\|", section, re.MULTILINE))
    assert listed == {**told(RelayMetrics().registry), **told(ConsumerMetrics().registry)}
