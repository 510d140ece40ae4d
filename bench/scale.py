"""The capacity model's tables, up to a million requests a second: `python -m bench.scale`, and with --write into docs/design/scale.md."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from bench.capacity import (
    BENCHMARKS,
    CACHE_SECONDS,
    CORES,
    ELIGIBLE,
    LOAD,
    ROOT,
    SPARE_CORES,
    USER_RATE,
    NoFigureError,
    Plan,
    Slopes,
    asked,
    enough,
    everything,
    plan,
    rows,
    scaled,
    slopes,
)

PAGE: Final = ROOT / "docs" / "design" / "scale.md"
STEPS: Final = (1_000, 10_000, 50_000, 100_000, 300_000, 1_000_000)
"""Requests a second."""
HOURS: Final = 730.0
"""Of a month."""
PRICE: Final = 0.04
"""Of a core and hour, in dollars: a round number. --price for another."""

HEAD: Final = (
    "requests/s",
    "gateways",
    "workers",
    "sample",
    "pairs/s",
    "shadow workers",
    "packs/s",
    "rows/s in one database",
    "databases",
    "rows/s in all",
    "cores",
    "$ a month",
    "full first",
)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for cells in body:
        yield f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _planned(plans: Sequence[Plan], price: float) -> str:
    body = [
        [
            f"{each.requests:,}",
            f"{each.gateways}",
            f"{each.workers}",
            f"{100 * each.sample:.2g} %" if each.sample < 1 else "100 %",
            _number(each.pairs),
            f"{each.judges}",
            _number(each.packs),
            _number(each.counters + each.packs),
            f"{each.cells}",
            _number(each.written),
            f"{each.cores}",
            _number(each.cores * HOURS * price),
            f"{each.first}, at {100 * each.full[each.first]:.0f} %",
        ]
        for each in plans
    ]
    return "\n".join(_table(HEAD, body))


def _one_machine(of: Slopes) -> str:
    """Rates at which a core is full: of the workers, of the shipper, of shadow workers in its place."""
    whole = of.shadowing.value + of.policy.value + of.stamped.value
    body = []
    for number in (1, 2):
        workers = scaled(1e6 / whole, number, of.second_worker.value)
        for name, pairs in (
            ("the shipper, equal bytes", 1e6 / of.beside.value),
            ("the shipper, equal once parsed", of.parsed.value),
            ("1 shadow worker, equal once parsed", of.parsed.value),
            ("2 shadow workers, equal once parsed", scaled(of.parsed.value, 2, of.second_judge.value)),
        ):
            until = pairs / ELIGIBLE
            first = "workers" if workers < until else name.partition(",")[0]
            body.append([f"{number}", name, _number(workers), _number(until), first])
    return "\n".join(_table(["workers", "compared by", "workers full at", "comparing full at", "first"], body))


def _million(of: Slopes, price: float) -> str:
    """What the last step comes to, in words."""
    least, most = plan(of, STEPS[-1], enough(STEPS[-1])), plan(of, STEPS[-1], 1.0)
    billion = 1e9 / STEPS[-1] / 3600
    envoy = math.ceil(STEPS[-1] * of.envoy.value / 1e6 / LOAD)
    people = STEPS[-1] / USER_RATE
    passing = math.ceil(STEPS[-1] * of.passing.value / 1e6 / LOAD)
    return (
        f"A million requests a second, enough compared: {least.cores} cores, ${least.cores * price * billion:.2f} for a billion requests."
        f" Everything compared: {most.cores} cores in {most.cells} cells, ${most.cores * price * billion:.2f}."
        f" For passing on alone, at the same load and with no loss between workers: {passing} cores, and with Envoy's figure {envoy}.\n\n"
        f"That many requests are {_number(people)} people with {USER_RATE:g} requests a second each. A connection for each of them,"
        f" idle most of the time, takes {people * of.idle.value / 1024**2:.0f} GiB in all, and {_number(people / least.gateways)}"
        f" connections at each of {least.gateways} gateways."
    )


def tables(of: Slopes, price: float) -> dict[str, str]:
    """What the script writes into the page, by the name of its place."""
    figures = [
        [slope.what, f"{slope.value:,g} {slope.unit}", slope.place if slope.measured else f"**not measured, assumed**: {slope.place}"]
        for slope in of.all()
    ]
    growth = [[f"{each:,}", f"{rows(each)}", f"{rows(each, routes=5)}"] for each in (1, 10, 100, 1_000, 10_000)]
    paces = (USER_RATE, 1.0, 10.0)
    users = [
        [f"{each}", *(f"{100 * asked(each * (CORES - SPARE_CORES), pace * CACHE_SECONDS):.0f} %" for pace in paces)]
        for each in (1, 2, 8, 32, 128)
    ]
    return {
        "figures": "\n".join(_table(["what", "figure", "from"], figures)),
        "one": _one_machine(of),
        "rows": "\n".join(_table(["requests/s of a route", "rows of one route", "of five"], growth)),
        "enough": _planned([plan(of, each, enough(each)) for each in STEPS], price),
        "everything": _planned([plan(of, each, everything(each)) for each in STEPS], price),
        "asked": "\n".join(_table(["gateways", *(f"{pace:g} requests/s" for pace in paces)], users)),
        "million": _million(of, price),
    }


def filled(page: str, of: Slopes, price: float = PRICE) -> str:
    """The page with its tables as they are now. A place is between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: a place is missing.
    """
    for name, table in tables(of, price).items():
        before, start, rest = page.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise ValueError(f"the page has no place for {name}")
        page = f"{before}{start}\n\n{table}\n\n{end}{after}"
    return page


def main() -> None:
    """Prints the tables, or writes them into the page."""
    parser = argparse.ArgumentParser(description="A capacity model up to a million requests a second.")
    parser.add_argument("--write", action="store_true", help="into docs/design/scale.md")
    parser.add_argument("--price", type=float, default=PRICE, help="dollars for a core and hour")
    options = parser.parse_args()
    try:
        of = slopes(BENCHMARKS.read_text())
    except NoFigureError as error:
        sys.exit(f"docs/benchmarks.md: {error}")
    if options.write:
        PAGE.write_text(filled(PAGE.read_text(), of))
    else:
        print("\n\n".join(f"{name}\n\n{table}" for name, table in tables(of, options.price).items()))


if __name__ == "__main__":
    main()
