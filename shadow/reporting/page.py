"""A report as one HTML file: no script, nothing from elsewhere, and for paper too.

All that is foreign in it (paths, values, targets, reasons) goes through the template engine's escaping; its Content-Security-Policy allows
one style sheet by its hash and nothing else, so that even markup that got through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from django.template import Context, Engine
from django.utils.safestring import mark_safe

from shadow.reporting.chart import chart, span
from shadow.reporting.document import Document

MOST_SIGNATURES = 100
TEMPLATES = Path(__file__).resolve().parent.parent / "templates" / "shadow"


def page(document: Document) -> str:
    """The file's text."""
    style = (TEMPLATES / "report.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = document.signatures[:MOST_SIGNATURES]
    context = {
        "document": document,
        "counted": document.counted,
        "gate": document.gate,
        "style": mark_safe(style),  # noqa: S308 - a file of this package
        "policy": f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'",
        "chart": mark_safe(chart(document.series)),  # noqa: S308 - numbers alone
        "step": span(document.series.step),
        "signatures": [
            {"line": line, "history": document.histories[line.id], "examples": document.examples.get(line.id, [])} for line in shown
        ],
        "more": len(document.signatures) - len(shown),
        "lost": [
            (what, reason, count)
            for what, reasons in (("skipped", document.counted.skipped), ("dropped", document.counted.dropped))
            for reason, count in reasons.items()
        ],
    }
    engine = Engine(dirs=[str(TEMPLATES)], builtins=["shadow.reporting.filters"])
    return str(engine.get_template("report.html").render(Context(context)))
