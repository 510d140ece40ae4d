"""Dashboard and alert rules ask for what real processes expose, by labels that it has, with values that these can have."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.exposed import Exposed
from tests.support.promql import SCRAPED, Use, read

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "banyan.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
VARIABLES = {"instance", "route"}
GUIDE = ROOT / "docs" / "guide" / "alerts.md"
HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")


@dataclass(frozen=True)
class Asked:
    """An expression, where it stands, and the labels that the text beside it uses."""

    where: str
    text: str
    shown: frozenset[str]


def _asked() -> Iterator[Asked]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield Asked(panel["title"], target["expr"], frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])))
    for rule in ALERTS:
        yield Asked(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])))


ASKED = list(_asked())


def _page() -> dict[str, tuple[frozenset[str], str]]:
    """What docs/reference/metrics.md says: name → labels, text."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\| (.*) \|$", (ROOT / "docs" / "reference" / "metrics.md").read_text(), re.MULTILINE)
    return {name: (frozenset(labels.split(", ")) - {""}, text) for name, labels, text in rows}


PAGE = _page()


def _uses() -> list[tuple[str, Use]]:
    return [(asked.where, use) for asked in ASKED for use in read(asked.text).uses if use.metric != "up"]


def test_the_processes_expose_what_the_page_lists_with_its_labels(exposed: dict[str, Exposed]) -> None:
    told = {HISTOGRAM.sub("", name) if metric.kind == "histogram" else name for name, metric in exposed.items()}
    assert told == PAGE.keys()
    for name, metric in exposed.items():
        if metric.labels is not None:
            listed, _ = PAGE[HISTOGRAM.sub("", name) if metric.kind == "histogram" else name]
            assert metric.labels - {"le"} == listed, name
    assert sum(metric.labels is not None for metric in exposed.values()) > len(exposed) / 2, "else this says little"


def test_names_are_as_prometheus_has_them(exposed: dict[str, Exposed]) -> None:
    """https://prometheus.io/docs/practices/naming/: one prefix, base units, _total for what only grows."""
    for name, metric in exposed.items():
        assert re.fullmatch(r"banyan_[a-z0-9]+(?:_[a-z0-9]+)*", name)
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert not re.search(r"_(?:ms|millis|milliseconds|minutes|hours|kb|mb|percent|pct|info)(?:_|$)", name), name
        if metric.kind == "histogram":
            assert "_seconds_" in name, name
        assert metric.labels is None or not metric.labels & {"path", "target", "url", "user", "id"}, name
    timed = {name for name, (_, text) in PAGE.items() if re.match(r"(?:since|Unix time|age of|p95|histogram, from)", text)}
    assert timed
    assert all(name.endswith("_seconds") for name in timed - {"banyan_consumer_age_seconds"}), timed


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.where)
def test_what_is_asked_for_exists(asked: Asked, exposed: dict[str, Exposed]) -> None:
    found = read(asked.text)
    assert found.uses
    for use in found.uses:
        if use.metric == "up":
            assert use.labels <= SCRAPED
            continue
        assert use.metric in exposed, f"nobody exposes {use.metric}"
        metric = exposed[use.metric]
        family = HISTOGRAM.sub("", use.metric) if metric.kind == "histogram" else use.metric
        listed, _ = PAGE[family]
        labels = metric.labels if metric.labels is not None else listed | ({"le"} if use.metric.endswith("_bucket") else set())
        assert use.labels <= labels | SCRAPED, f"{use.metric} has no {use.labels - labels - SCRAPED}"
        if metric.kind in ("counter", "histogram"):
            assert use.function in ("rate", "increase") or "unless" in asked.text, f"{use.metric} only grows: its rate says something"
        else:
            assert use.function in ("", "deriv"), f"{use.metric} is no counter"
        if not use.grouped and found.labels is None:
            assert asked.shown <= labels | SCRAPED
    if found.labels is not None:
        assert asked.shown <= found.labels, f"{asked.shown - found.labels} is not in the result"


@pytest.mark.parametrize(("where", "use"), _uses(), ids=lambda value: value if isinstance(value, str) else value.metric)
def test_values_are_some_that_the_page_names(where: str, use: Use) -> None:
    """A misspelt value matches nothing, and an alert on nothing never fires."""
    family = use.metric if use.metric in PAGE else HISTOGRAM.sub("", use.metric)
    _, text = PAGE[family]
    served = {"legacy", "candidate", "gateway"}
    for label, matchers in use.matchers.items():
        for _, value in matchers:
            if value.startswith("$"):
                assert value[1:] == label
                assert label in VARIABLES
            elif label == "status":
                assert re.fullmatch(r"[1-5]\.\.", value)
            elif label == "served_by":
                assert value in served, where
            elif (label, value) == ("route", "none"):
                assert 'route="none"' in (ROOT / "docs" / "reference" / "metrics.md").read_text()
            elif label == "priority":
                assert set(value.split("|")) <= {"critical", "normal", "sheddable"}
            else:
                for each in value.split("|"):
                    assert re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", text), f"{where}: {use.metric} {label}={each}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"Banyan[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page) == GUIDE
    assert anchor == rule["alert"].lower()
    section = re.search(rf"^### {rule['alert']}\n\n(.+?)(?=^##|\Z)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert section, "its runbook has no section for it"
    assert len(section[1].split()) > 20


def test_every_runbook_has_its_alert_once() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert max(Counter(names).values()) == 1
    assert re.findall(r"^### (\w+)$", GUIDE.read_text(), re.MULTILINE) == names, "in the order of the rules"


def test_the_incidents_are_told_where_they_belong() -> None:
    for incident in ("push-surge", "payment-provider"):
        assert f"(../incidents/{incident}.md)" in GUIDE.read_text()


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    assert max(Counter(panel["title"] for panel in panels).values()) == 1
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        assert panel["type"] in ("row", "stat", "timeseries")
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            for part in (panel, *panel["targets"]):
                assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", *VARIABLES}
    assert "id" not in DASHBOARD, "it would replace whichever has that number"


def test_the_dashboards_variables_are_filled(exposed: dict[str, Exposed]) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked
            labels = exposed[asked[1]].labels
            assert labels is not None
            assert asked[2] in labels | SCRAPED
            assert asked[2] == variable["name"]
