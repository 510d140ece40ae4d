"""The graph of calls drawn: as text, in Graphviz' DOT, and as an SVG that needs nobody to lay it out.

In every drawing what everybody may call stands lowest, so that a call that goes as it should goes down.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from gateway.domains.graph import Call, Graph
from gateway.policy.domains import Verdict

_WIDTH: Final = 150
"""Of a box, in pixels …"""
_HEIGHT: Final = 38
_ACROSS: Final = 200
"""… and from one to the next."""
_DOWN: Final = 110
_MARGIN: Final = 40
_BESIDE: Final = 130
"""Left and right of the boxes: there calls go by what lies between."""
_COLOURS: Final = {Verdict.WITH: "#0f766e", Verdict.OWN: "#616e7c", Verdict.AGAINST: "#c2410c", Verdict.UNLISTED: "#616e7c"}


def rows(graph: Graph) -> list[list[str]]:
    """The domains as they stand above one another, the uppermost first: those that are not in the order, then the order from its end."""
    listed = set(graph.order.names)
    named = {name for call in graph.calls for name in (call.caller, call.domain)}
    strangers = sorted(named - listed)
    return [*([strangers] if strangers else []), *reversed(graph.order.places)]


def text(graph: Graph) -> Iterator[str]:
    """Lines for a terminal."""
    yield "order, from who may call all others to who may call nobody:"
    for row in rows(graph):
        yield f"  {', '.join(row)}"
    yield "calls:" if graph.calls else "calls: none were seen"
    width = max((len(call.caller) + len(call.domain) for call in graph.calls), default=0)
    for call in graph.calls:
        pair = f"{call.caller} -> {call.domain}"
        yield f"  {pair:{width + 4}}  {call.calls:>9,}  {_WORDS[call.verdict]}"
    for circle in graph.cycles:
        yield f"circle: {' -> '.join([*circle, circle[0]]) if len(circle) == 2 else ', '.join(circle) + ' call one another'}"
    for fault in graph.faults:
        yield f"route {fault.route} ({fault.match}): {fault.why}"


_WORDS: Final = {
    Verdict.OWN: "within the domain",
    Verdict.WITH: "as it should be",
    Verdict.AGAINST: "AGAINST THE ORDER",
    Verdict.UNLISTED: "not in the order",
}


def dot(graph: Graph) -> str:
    """For Graphviz."""
    lines = [
        "digraph domains {",
        "  rankdir=TB;",
        '  node [shape=box, fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
    ]
    above = ""
    for row in rows(graph):
        names = "; ".join(_quoted(name) for name in row)
        lines.append(f"  {{ rank=same; {names}; }}")
        if above:
            lines.append(f"  {_quoted(above)} -> {_quoted(row[0])} [style=invis];")
        above = row[0]
    for call in graph.calls:
        style = ", style=dashed, penwidth=2" if call.verdict is Verdict.AGAINST else ""
        lines.append(
            f'  {_quoted(call.caller)} -> {_quoted(call.domain)} [label="{call.calls}", color="{_COLOURS[call.verdict]}"{style}, '
            "constraint=false];"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def svg(graph: Graph) -> str:
    """A whole SVG document."""
    layers = rows(graph)
    widest = max(len(row) for row in layers)
    width = 2 * _BESIDE + (widest - 1) * _ACROSS + _WIDTH
    height = 2 * _MARGIN + (len(layers) - 1) * _DOWN + _HEIGHT
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(layers):
        left = (width - (len(row) - 1) * _ACROSS - _WIDTH) / 2
        for column, name in enumerate(row):
            places[name] = (left + column * _ACROSS, _MARGIN + number * _DOWN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="14" role="img">',
        "<title>Calls between domains</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        "<defs>",
        *(
            f'<marker id="{verdict}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
            for verdict, colour in _COLOURS.items()
        ),
        "</defs>",
    ]
    parts += [_edge(call, places) for call in graph.calls if call.verdict is not Verdict.OWN]
    for name, (x, y) in places.items():
        dashed = "" if name in graph.order else ' stroke-dasharray="4 3"'
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="#f5f7fa" stroke="#1f2933"{dashed}/>')
        parts.append(f'<text x="{x + _WIDTH / 2:g}" y="{y + _HEIGHT / 2 + 5:g}" text-anchor="middle" fill="#1f2933">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _edge(call: Call, places: dict[str, tuple[float, float]]) -> str:
    """From box to box, bent to its own side, so that a call and the one back do not lie upon each other, and round what lies between;
    those against the order dashed."""
    (x1, y1), (x2, y2) = places[call.caller], places[call.domain]
    down = y2 > y1
    same = y1 == y2
    start = (x1 + _WIDTH / 2, y1 + (0 if same or not down else _HEIGHT))
    end = (x2 + _WIDTH / 2, y2 + (_HEIGHT if not same and not down else 0))
    layers = round(abs(y2 - y1) / _DOWN)
    aside = 24 if layers < 2 else _WIDTH + 40 + 16 * min(layers, 4)
    bent = ((start[0] + end[0]) / 2 + (0 if same else aside if down else -aside), (start[1] + end[1]) / 2 - (34 if same else 0))
    middle = ((start[0] + end[0]) / 4 + bent[0] / 2, (start[1] + end[1]) / 4 + bent[1] / 2)
    dashed = ' stroke-dasharray="6 4"' if call.verdict is Verdict.AGAINST else ""
    colour = _COLOURS[call.verdict]
    return (
        f'<path d="M{start[0]:g} {start[1]:g} Q{bent[0]:g} {bent[1]:g} {end[0]:g} {end[1]:g}" fill="none" stroke="{colour}" '
        f'stroke-width="1.6"{dashed} marker-end="url(#{call.verdict})"/>'
        f'<text x="{middle[0]:g}" y="{middle[1] - 3:g}" text-anchor="middle" font-size="11" fill="{colour}" stroke="#ffffff" '
        f'stroke-width="3" paint-order="stroke">{call.calls:,}</text>'
    )
