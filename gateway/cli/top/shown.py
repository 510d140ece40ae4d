"""A listing of endpoints as text, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.cli.flags.shown import duration, plain
from gateway.endpoints.logged import TIMED

NEXT: Final = 5
"""Of what to migrate next."""
UNASKED: Final = 8
_HEAD: Final = ("req/s", "share", "time", "4xx", "5xx", "p50", "p95", "p99", "login", "cache")
_VERDICTS: Final = {"good": "good next", "fair": "possible"}


def show(found: Mapping[str, Any], rows: int, as_json: bool) -> None:
    """Prints it."""
    if as_json:
        print(json.dumps({**found, "endpoints": found["endpoints"][:rows], "migrate_next": found["migrate_next"][:rows]}, indent=2))
        return
    for line in lines(found, rows):
        print(line)


def lines(found: Mapping[str, Any], rows: int) -> list[str]:
    """As many endpoints as `rows`, and what to migrate next. Nothing in it steers a terminal."""
    return [plain(line) for line in (*_head(found), "", *table(found, rows), "", *_next(found), *_unasked(found))]


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    if found["source"] == "gateway":
        total = found["total"]
        yield (
            f"{found['admin']}: {total['requests']:,} requests of the last {duration(found['seconds'])}, {_rate(total['rps'])}/s; "
            f"{total['errors_5xx']:.1%} 5xx"
        )
        return
    over = "" if found["seconds"] is None else f" over {duration(found['seconds'])}"
    yield f"{', '.join(found['logs'])}: {found['total']['requests']:,} requests{over}"
    if found["durations"]:
        for what in found["durations"].values():
            yield f"durations: {what['what']}, of {what['lines']:,} lines"
    if found["timed"] < TIMED and found["total"]["requests"]:
        what = f"Only {found['timed']:.0%} of its lines have a duration" if found["timed"] else "There are no durations in it"
        yield (
            f"{what}, so nothing is known of what endpoints cost: they are ranked by how often they are asked for. "
            "For durations, add $upstream_response_time to nginx's log_format, or %D to Apache's LogFormat"
        )
    if found["seconds"] is None:
        yield "There are no times in it, so nothing is known of how often endpoints are asked for."
    troubles = found["troubles"]
    if troubles["lines"]:
        yield f"{troubles['lines']:,} lines could not be read:"
        for kind in troubles["kinds"][:NEXT]:
            yield f"  {kind['lines']:,}: {kind['why']} ({', '.join(kind['first'])}{', …' if kind['lines'] > len(kind['first']) else ''})"


def table(found: Mapping[str, Any], rows: int) -> list[str]:
    """One line an endpoint, below a head."""
    shown = found["endpoints"][:rows]
    cells = [_cells(one) for one in shown]
    left = found["rest"]["requests"] + sum(one["requests"] for one in found["endpoints"][rows:])
    names = [f"{one['method']:7}{one['template']}" for one in shown]
    wide = max([40, *(min(70, len(name)) for name in names)])
    widths = [max(len(title), *(len(row[index]) for row in cells)) if cells else len(title) for index, title in enumerate(_HEAD)]
    text = [f"{'endpoint':{wide}}  " + "  ".join(f"{title:>{width}}" for title, width in zip(_HEAD, widths, strict=True))]
    for name, row in zip(names, cells, strict=True):
        short = name if len(name) <= wide else f"{name[: wide - 1]}…"
        text.append(f"{short:{wide}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    if left:
        text.append(f"{'others':{wide}}  {left:,} requests")
    return text


def _cells(one: Mapping[str, Any]) -> list[str]:
    login = one.get("login", "unknown")
    return [
        _rate(one["rps"]),
        f"{one['share']:.1%}",
        f"{one['legacy_share']:.1%}" if one.get("timed", True) else "-",
        f"{one['errors_4xx']:.1%}",
        f"{one['errors_5xx']:.1%}",
        milliseconds(one["p50"]),
        milliseconds(one["p95"]),
        milliseconds(one["p99"]),
        "?" if login == "unknown" else login,
        ", ".join(one["caching"]) or "-",
    ]


def _next(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["migrate_next"]:
        yield "nothing speaks for migrating any of them next"
        return
    yield "migrate next:"
    for index, one in enumerate(found["migrate_next"][:NEXT], 1):
        yield f"{index}. {one['method']} {one['template']}: {_VERDICTS[one['verdict']]}"
        for reason in one["reasons"]:
            yield f"   {'+' if reason['good'] else '-'} {reason['text']}"


def _unasked(found: Mapping[str, Any]) -> Iterator[str]:
    unasked = found.get("unasked")
    if unasked:
        more = f" and {len(unasked) - UNASKED} more" if len(unasked) > UNASKED else ""
        yield ""
        yield f"declared, and never asked for here: {', '.join(unasked[:UNASKED])}{more}"


def milliseconds(seconds: float | None) -> str:
    """Such as "12 ms" and "1.4 s"."""
    if seconds is None:
        return "-"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.00995 else f"{1000 * seconds:.1f} ms"


def _rate(rps: float | None) -> str:
    if rps is None:
        return "-"
    return f"{rps:,.0f}" if rps >= 100 else f"{rps:.1f}" if rps >= 0.1 else f"{rps:.3f}"
