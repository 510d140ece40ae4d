"""The reference pages say what the code does."""

import re
from pathlib import Path

from gateway import admin, admin_capture, admin_flags, admin_top, metrics, reference, reload, upstream_limits, upstreams
from gateway.domains import metrics as domain_metrics
from gateway.guard import metrics as guard_metrics
from gateway.tracing import metrics as trace_metrics
from shadow import figures

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_settings_page_is_what_the_code_says() -> None:
    for path, text in reference.pages().items():
        assert path.read_text() == text, f"run scripts/reference: {path.name} is out of date"


def test_every_setting_is_described() -> None:
    assert not re.findall(r"^\| `\w+` \| [^|]* \|  \|$", reference.settings(), re.MULTILINE)


def test_every_metric_is_documented() -> None:
    modules = (metrics, domain_metrics, guard_metrics, upstreams, upstream_limits, trace_metrics, figures)
    source = "".join(Path(str(module.__file__)).read_text() for module in modules)
    names = set(re.findall(r'MetricFamily\(\s*"(\w+)"', source))
    assert len(names) > 10
    page = (DOCS / "metrics.md").read_text().partition("## Relays and followers")[0]  # whose own: tests/events/test_metrics_page.py
    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    counters = set(re.findall(r'CounterMetricFamily\(\s*"(\w+)"', source))
    assert documented == {f"{name}_total" if name in counters else name for name in names}


def test_every_answer_of_the_admin_port_is_documented() -> None:
    page = (DOCS / "admin.md").read_text()
    source = "".join(Path(module.__file__).read_text() for module in (admin, admin_capture, admin_flags, admin_top))
    found = re.findall(r'Route\("([^"]+)", \w+(?:, methods=\["([A-Z]+)"\])?\)', source)
    assert len(found) >= 13
    documented = {each.partition("?")[0] for each in re.findall(r"^\| `(\w+ \S+)` \|", page, re.MULTILINE)}
    assert documented == {f"{method or 'GET'} {path.replace('{flag}', 'FLAG')}" for path, method in found}


def test_what_a_reload_cannot_change_is_documented() -> None:
    page = (DOCS / "admin.md").read_text()
    restart = page[page.index("These need a restart") : page.index("## Drain")]
    assert re.findall(r"`([a-z_]+\.[a-z_0-9]+)`", restart) == list(reload.FIXED)
