"""Sums of tallies by wider spans (shadow.models.TallySum): a day of a route is some 40 of them a counter, instead of 5,000 tallies.

They are added to in the transaction that adds to the tallies, and may be made anew from these at any time. Of minutes there are sums only
where tallies are by the second; where these are rolled up, the tallies are the minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import connection

from shadow.spans import WIDTHS, Part, parts

MINUTE: Final = 60
WIDER: Final = WIDTHS[1:]
LONGEST: Final = WIDTHS[-1]

_ADD: Final = (
    "INSERT INTO shadow_tallysum (route, width, at, name, count) VALUES (%s, %s, %s, %s, %s)"
    " ON CONFLICT (route, width, at, name) DO UPDATE SET count = shadow_tallysum.count + excluded.count"
)
_ANEW: Final = (
    "INSERT INTO shadow_tallysum (route, width, at, name, count)"
    " SELECT route, {width}, at / {width} * {width}, name, SUM(count) FROM shadow_tally WHERE at >= %s AND at < %s{only}"
    " GROUP BY route, at / {width}, name"
)


def add(tallies: Mapping[tuple[str, int, str], int]) -> None:
    """Adds counts by (route, second, name). Last in its transaction, as writers wait for each other's rows here; in one order."""
    wider: Counter[tuple[str, int, int, str]] = Counter()
    for (route, at, name), count in tallies.items():
        for width in WIDER:
            wider[route, width, at // width * width, name] += count
    if wider:
        with connection.cursor() as cursor:
            cursor.executemany(_ADD, [(*key, count) for key, count in sorted(wider.items())])


def rolled_up(before: int) -> None:
    """Tallies of before that moment are minutes now. Of the hour that has gone by since, all is made anew: a shipper of another version may
    have written tallies alone."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shadow_tallysum WHERE width = 60 AND at < %s", [before])  # MINUTE, as its index has it
    if before % LONGEST < 3 * MINUTE:
        rebuild(before // LONGEST * LONGEST - LONGEST, before // LONGEST * LONGEST)


def rebuild(since: int | None = None, until: int | None = None) -> None:
    """Makes the sums of whole hours anew; by default all of them. Within a transaction in which nobody else writes."""
    start, end = -(2**62) if since is None else since, 2**62 if until is None else until
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shadow_tallysum WHERE at >= %s AND at < %s", [start, end])
        for width in WIDER:
            only = " AND width = 1" if width == MINUTE else ""
            cursor.execute(_ANEW.format(width=width, only=only), [start, end])


def purge(before: int) -> None:
    """Removes sums of before that whole hour."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shadow_tallysum WHERE at < %s", [before])


def totals(routes: Sequence[str], since: float, until: float | None = None, like: str = "") -> list[tuple[str, str, int]]:
    """(route, name, count) of all that was counted from `since` on, in one query. `like`: names that begin so, alone."""
    spans = parts(math.ceil(since), None if until is None else math.ceil(until))
    found: dict[tuple[str, str], int] = {}
    for route, name, count in _summed(spans, routes, "route, name", "route, name", like):
        found[route, name] = found.get((route, name), 0) + int(count)
    return [(route, name, count) for (route, name), count in found.items()]


def by_step(routes: Sequence[str], since: float, until: float, step: int, like: str = "") -> list[tuple[str, int, str, int]]:
    """(route, beginning of the step, name, count), in one query. `step`: seconds; the steps begin at multiples of it. `like`: as above."""
    spans = parts(math.ceil(since), math.ceil(until), max(width for width in WIDTHS if step % width == 0))
    found: dict[tuple[str, int, str], int] = {}
    fields, group = f"route, at / {step:d} * {step:d}, name", f"route, at / {step:d}, name"
    for route, at, name, count in _summed(spans, routes, fields, group, like):
        found[route, at, name] = found.get((route, at, name), 0) + int(count)
    return [(route, at, name, count) for (route, at, name), count in found.items()]


def ends(route: str, since: float, until: float) -> tuple[int, int] | None:
    """When something was counted first and last in that time, to the second or the minute; None where nothing was."""
    start, end = math.ceil(since), math.ceil(until)
    select = "SELECT {what}(at) FROM shadow_tally WHERE route = %s AND at >= %s AND at < %s"
    with connection.cursor() as cursor:  # one row each: of both at once, databases read all that is in between
        cursor.execute(f"SELECT ({select.format(what='MIN')}), ({select.format(what='MAX')})", [route, start, end] * 2)
        first, last = cursor.fetchone()
    return None if first is None else (first, last)


def newest() -> int | None:
    """The last second of which something was counted, or the minute where that is long ago; None where nothing ever was. By the index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE((SELECT MAX(at) FROM shadow_tally WHERE width = 1), (SELECT MAX(at) FROM shadow_tally WHERE width = 60))"
        )
        (found,) = cursor.fetchone()
    return found  # type: ignore[no-any-return]  # of a BIGINT column


def routes() -> list[str]:
    """Every route of which something is stored, by one look for each."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE found(route) AS (SELECT MIN(route) FROM shadow_tally UNION ALL"
            " SELECT (SELECT MIN(route) FROM shadow_tally WHERE route > found.route) FROM found WHERE found.route IS NOT NULL)"
            " SELECT route FROM found WHERE route IS NOT NULL AND route <> ''"
        )
        return sorted(route for (route,) in cursor.fetchall())


def _summed(of: Iterable[Part], routes: Sequence[str], fields: str, group: str, like: str) -> list[tuple[Any, ...]]:
    """Sums of each part by `fields`, all in one query: summed up part by part, each is read off its index (as one sum, SQLite would first
    make a table of all rows)."""
    selects: list[str] = []
    values: list[Any] = []
    for part in of:
        tables = {1: (("tally", None),), MINUTE: (("tally", MINUTE), ("tallysum", MINUTE))}.get(part.width, (("tallysum", part.width),))
        for table, width in tables:
            # Where seconds are asked for that are rolled up, the minutes that begin among them stand for them.
            sql = f"SELECT {fields}, SUM(count) FROM shadow_{table} WHERE route IN ({', '.join(['%s'] * len(routes))}) AND at >= %s"  # noqa: S608
            values += [*routes, part.start]
            if width is not None:
                # The sign keeps SQLite from the index of (width, at), by which it would read every route's for the sake of one.
                sql += f" AND {'+' if table == 'tally' and len(routes) == 1 else ''}width = %s"
                values.append(width)
            if part.end is not None:
                sql += " AND at < %s"
                values.append(part.end)
            if like:
                sql += " AND name LIKE %s"
                values.append(f"{like}%")
            selects.append(f"{sql} GROUP BY {group}")
    if not selects or not routes:
        return []
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
