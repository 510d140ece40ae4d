"""The bars: what each benchmark must hold, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One promise. `unit` follows the figures ('' for a ratio)."""

    what: str
    limit: float
    unit: str = ""
    at_least: bool = False

    def judge(self, seen: float, void: str = "") -> Verdict:
        """`void`: why what was seen says nothing."""
        return Verdict(self, seen, void)

    def says(self) -> str:
        return f"{self.what}: {'at least' if self.at_least else 'at most'} {_figure(self.limit, self.unit)}"


@dataclass(frozen=True)
class Verdict:
    """A bar, and what was measured."""

    bar: Bar
    seen: float
    void: str = ""
    """Why that says nothing, if it does not. Such a bar is not held."""

    @property
    def held(self) -> bool:
        """Not a number holds nothing."""
        if self.void:
            return False
        return self.seen >= self.bar.limit if self.bar.at_least else self.seen <= self.bar.limit

    def __str__(self) -> str:
        how = "held" if self.held else f"not judged, for {self.void}" if self.void else "missed"
        return f"{self.bar.says()}; seen {_figure(self.seen, self.bar.unit)}: {how}"

    def as_json(self) -> dict[str, object]:
        return {
            "bar": self.bar.what,
            "limit": self.bar.limit,
            "unit": self.bar.unit,
            "seen": self.seen,
            "held": self.held,
            "void": self.void,
        }


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f}" if not unit else f"{value:.1f} {unit}"


BARS = {
    # The edge worker's CPU per request over Envoy's, with one core each and as many requests as it carries: so were the figures measured
    # from which these bars were taken (docs/adr/0001). The fixed rate is shown beside it.
    "passthrough": Bar("Pass-through CPU a request over Envoy's", 0.5),
    "shadow": Bar("CPU a request in the shadow over Envoy's", 0.5),
    "upload": Bar("Throughput of an upload over nginx's", 0.5, at_least=True),
    "download": Bar("Throughput of a download over nginx's", 0.5, at_least=True),
    "both": Bar("Throughput of both at once over nginx's", 0.5, at_least=True),
    "bodies-memory": Bar("RSS while bodies pass, farthest from before", 20.0, "MiB"),
    "idle": Bar("Memory of an idle connection", 25.0, "KiB"),
    "busy": Bar("RSS at 1,000 busy connections", 80.0, "MiB"),
    "latency": Bar("p99 added at half load", 1.5, "ms"),
    "hung": Bar("p99 moved by a candidate in the shadow that hangs", 1.0, "ms"),
    "hung-memory": Bar("RSS with a candidate that hangs, over before", 20.0, "MiB"),
    "decision": Bar("A remembered decision, constant or sticky", 1.5, "µs"),
    "flag-pause": Bar("A worker's longest pause while it takes 1,000 new flags", 10.0, "ms"),
    "flagged": Bar("CPU a request of a route with flags, over one without", 5.0, "µs"),
    "policy": Bar("CPU a request of all of the policy, over passing it on", 6.0, "µs"),
    "identity": Bar("CPU a request of a caller who is remembered, with his stamp", 6.0, "µs"),
    "identity-asked": Bar("Requests that ask legacy who calls, of 50 users at 500 requests/s", 2.0, "%"),
    "flip-file": Bar("A flip in the file, until the last worker goes by it", 200.0, "ms"),
    "flip-override": Bar("An override, until the last worker goes by it", 200.0, "ms"),
    "flip-unleash": Bar("A flip in Unleash, until the last worker goes by it", 2000.0, "ms"),
    "compare-equal": Bar("Pairs of 1 KB, equal, compared on a core", 5000.0, "a second", at_least=True),
    "compare-one": Bar("Pairs of 27 KB with one change, compared on a core", 300.0, "a second", at_least=True),
    "compare-twenty": Bar("A pair of 566 KB with 20 changes", 60.0, "ms"),
    "console": Bar("The console's slowest page, with a million exchanges stored", 150.0, "ms"),
    "top": Bar("banyan top on an access log of a million lines", 20.0, "s"),
    "top-memory": Bar("Memory of banyan top on that, all its processes", 200.0, "MiB"),
    "replay": Bar("Pairs of 1 KB replayed and compared on a core", 500.0, "a second", at_least=True),
    "compare-keyed": Bar("A pair of lists, 800 elements in another order, by key", 20.0, "ms"),
}
