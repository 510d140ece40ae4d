"""A report's forms: they say the same, a hostile answer is text in all of them, and Chromium, print and CI tools can read them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from shadow import counters, states, store
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Sample, Signature
from shadow.redact import Redactor
from shadow.reporting.chart import chart
from shadow.reporting.document import Document, collect, plain
from shadow.reporting.junit import junit
from shadow.reporting.page import page as html
from shadow.series import Point, Series
from shadow.words import visible
from tests.support.chromium import ARGUMENTS, CHROMIUM, required

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>]]></failure>\x1b[31m\u202e\x00\ufffe{{ 7|add:7 }}"
"""Markup, the end of a CDATA section and of an element, an escape sequence, a turned direction, what XML cannot hold, and a template."""
NOW = time.time()
JUDGE = Judge(Redactor(["$..password"], b"k" * 32), {"r": Rules()})


class Terms:
    minimum, match, window, coverage = 10, 0.5, 86400.0, 0.5


def exchange(legacy: Any, candidate: Any, *, at: float = NOW - 120) -> Exchange:
    head = b"Content-Type: application/json\r\n"
    one = Answer("legacy", "legacy", 200, head, json.dumps(legacy).encode(), 0.01)
    other = Answer("candidate", "new", 200, head, json.dumps(candidate).encode(), 0.02)
    fields = b"Host: shop.test\r\nX-Note: " + HOSTILE.replace("\x00", "").replace("\x1b", "").encode() + b"\r\n"
    return Exchange("r", HOSTILE, at, "POST", f"/r/1?q={HOSTILE}", fields + b"Content-Type: text/plain\r\n", b"it's <b>", one, other)


@pytest.fixture
def document() -> Document:
    batch = Batch()
    pairs = [
        exchange({"a": 1, "b": HOSTILE, HOSTILE: 1}, {"a": "1", "b": HOSTILE + "!", HOSTILE: 2}),
        exchange({"a": 1, "gone": None, "password": "hunter2"}, {"a": 1, "more": [1], "password": "hunter3"}, at=NOW - 3600),
    ]
    for pair in pairs:
        judgement = JUDGE.judge(pair)
        assert judgement is not None
        batch.judgement(judgement)
    for minute in range(0, 240, 3):
        batch.count("r", NOW - 60 * minute, counters.MATCHED, 40 + minute % 7)
        batch.count("r", NOW - 60 * minute, counters.ELIGIBLE, 60)
    batch.count("r", NOW - 60, counters.SKIPPED + HOSTILE[:20], 5)
    batch.count("r", NOW - 60, counters.DROPPED + "queue_full", 3)
    store.write(batch)
    row = Signature.objects.get(path="$.a")
    states.change(row.pk, "bug", by="<i>ada</i>", why=f"it rounds {HOSTILE}")
    mended = Signature.objects.get(path="$.gone")
    states.change(mended.pk, "fixed", by="ada", why="new 1.2")
    return collect("r", "/r/<b>*</b>", "new", Terms(), 0, NOW)


@pytest.mark.django_db
def test_the_forms_say_the_same(document: Document) -> None:
    told = json.loads(json.dumps(plain(document)))
    assert list(told) == [
        "version", "route", "match", "candidate_upstream", "made", "since", "mode", "served", "legacy", "candidate", "fallback", "gateway",
        "unfinished", "eligible", "captured", "compared", "matched", "matched_outright", "matched_by_configuration",
        "matched_by_rules", "matched_as_noise", "untold", "rules", "mismatched", "match_rate", "interval", "coverage", "coverage_of_sample",
        "skipped", "dropped", "reconciliation", "noise_pairs", "noise_different", "noise", "gate", "signatures", "sides", "series",
    ]  # fmt: skip
    assert sum(point["matched"] for point in told["series"]["points"]) == told["matched"] > 3000
    assert told["mismatched"] == 2
    by_path = {line["path"]: line for line in told["signatures"]}
    assert [change["new"] for change in by_path["$.a"]["history"]] == ["bug"]
    assert by_path["$.a"]["examples"][0]["differences"] == [{"path": "$.a", "legacy": "1", "candidate": '"1"'}]
    assert by_path["$.gone"]["examples"][0]["differences"] == [{"path": "$.gone", "legacy": "null", "candidate": None}]
    assert by_path["$.more"]["examples"][0]["differences"] == [{"path": "$.more", "legacy": None, "candidate": "[1]"}]
    assert by_path["$.a"]["examples"][0]["curl"].startswith("curl --globoff --include --request POST --header 'host: shop.test'")
    assert [line["open"] for line in told["signatures"]] == sorted((line["open"] for line in told["signatures"]), reverse=True)
    assert not told["gate"]["passed"]
    suite = parsed(junit(document)).find("testsuite")
    assert suite is not None
    text = html(document)
    for line in told["signatures"]:
        assert any(case.get("name", "").startswith(f"{line['kind']} {line['path'][:3]}") for case in suite.iter("testcase"))
    assert f"{told['matched']:,} of {told['compared']:,} match" in text
    assert "hunter" not in text + junit(document) + json.dumps(told)


@pytest.mark.django_db
def test_ci_tools_can_read_the_xml(document: Document) -> None:
    text = junit(document)
    assert re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text) is None, "XML 1.0, 2.2: what it can hold"
    assert "\u202e" not in text
    root = parsed(text)
    check_schema(root)
    cases = list(root.iter("testcase"))
    assert (cases[0].get("classname"), cases[0].get("name")) == ("banyan.r", "gate")
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases) == 1 + len(document.signatures)
    failed = {case.get("name", ""): failure for case in cases if (failure := case.find("failure")) is not None}
    assert set(failed) == {"gate", *(name for name in (case.get("name", "") for case in cases[1:]) if "$.gone" not in name)}
    assert failed["type $.a"].get("type") == "bug"
    assert "new to bug, by <i>ada</i>: it rounds <script>" in (failed["type $.a"].text or "")
    assert "\\x00\\ufffe{{ 7|add:7 }}" in (failed["type $.a"].text or "").replace("\N{SYMBOL FOR NULL}", "\\x00")
    (mended,) = (case for case in cases if case.get("name") == "missing $.gone")
    assert "bug" not in (mended.findtext("system-out") or "")
    assert "new to fixed, by ada: new 1.2" in (mended.findtext("system-out") or "")


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


ORDER = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out", "system-err"],
    "properties": ["property"],
    "testcase": ["skipped", "error", "failure", "system-out", "system-err"],
}
REQUIRED = {
    "testsuites": {"tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
}


def check_schema(node: ET.Element) -> None:
    """Jenkins' junit-10.xsd, as far as it goes here: which elements stand in which, in that order, with which attributes; and sums."""
    allowed = ORDER.get(node.tag, [])
    places = [allowed.index(child.tag) for child in node]  # raises where one has no place
    assert places == sorted(places), node.tag
    assert set(node.attrib) >= REQUIRED.get(node.tag, set()), node.tag
    for name in ("tests", "failures", "errors", "skipped"):
        if name in node.attrib:
            what = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}[name]
            assert int(node.attrib[name]) == len(list(node.iter(what))), name
    if node.tag == "testsuite":
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", node.attrib["timestamp"])
        assert float(node.attrib["time"]) >= 0
    if not allowed:
        assert len(node) == 0
    for child in node:
        check_schema(child)


def test_xml_can_hold_every_character_that_is_left() -> None:
    everything = visible("".join(map(chr, range(0x110000))))
    assert re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", everything) is None
    parsed(f"<a>{everything.replace('&', '').replace('<', '')}</a>")


@pytest.mark.django_db
def test_of_a_route_of_which_nothing_is_known_there_is_a_report_too() -> None:
    document = collect("none", "/none", "new", Terms(), NOW - 60, NOW)
    assert "Nothing was compared." in html(document)
    check_schema(parsed(junit(document)))
    assert plain(document)["match_rate"] is None
    assert json.loads(json.dumps(plain(document)))["series"]["points"] == []


@pytest.mark.django_db
def test_a_sample_of_before_requests_were_kept(document: Document) -> None:
    Sample.objects.update(request=None)
    text = html(collect("r", "/r/*", "new", Terms(), NOW - 7200, NOW))
    assert "Headers and body of this request were not kept." in text


def test_a_chart_is_broken_where_nothing_is_known() -> None:
    first = Point(0, matched=9, mismatched=1, eligible=20)
    rates = [first, Point(60, matched=1, eligible=1), Point(120), Point(180, matched=5), Point(240)]
    drawn = chart(Series(60, tuple(rates)))
    root = parsed(drawn)
    assert len(root.findall("polyline")) == 1
    assert len(root.findall("circle")) == 1
    assert len([bar for bar in root.iter("rect") if bar.get("class") == "mismatched"]) == 1
    rates_said = "Match rate between 90.00 % and 100.00 %, coverage between 50.00 % and 100.00 %"
    assert root.get("aria-label") == f"{rates_said}, and up to 20 exchanges to compare, in each of 5 spans of a minute"
    bars = root.findall("rect")
    heights = {bar.get("class"): float(bar.attrib["height"]) for bar in bars if bar.get("x") == bars[0].get("x")}
    assert heights == {"left-out": 40.0, "matched": 36.0, "mismatched": 4.0}, "half of what was to be compared in the first minute was not"
    top, bottom = (float(point.split(",")[1]) for point in reversed(root.findall("polyline")[0].attrib["points"].split()))
    assert (top, bottom) == (14.0, 124.0), "100 % is at the top, and 90 % at the bottom of a scale that begins there"
    assert chart(Series(60, (Point(0),))) == chart(Series(60)) == ""


@pytest.fixture
def opened(document: Document, tmp_path: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page in Chromium, as a file, and whatever it asks for, says or complains of."""
    required()
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(html(document))
    events: list[str] = []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = launched.new_context(viewport={"width": 1100, "height": 900}).new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: events.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: events.append(request.url) if not request.url.startswith("data:") else None)
        page.goto(path.as_uri())
        assert events == [path.as_uri()], "one file, and nothing from elsewhere"
        events.clear()
        yield page, events
        launched.close()


@pytest.mark.browser
@pytest.mark.django_db
def test_what_an_answer_holds_is_text_and_nothing_else(opened: tuple[Page, list[str]]) -> None:
    page, events = opened
    text = page.locator("body").inner_text()
    assert "<script>document.title='owned'</script><img src=x onerror=alert(1)>" in text
    assert "\\u202e" in text
    assert "{{ 7|add:7 }}" in text
    assert "\u202e" not in page.content()
    assert "<i>ada</i>" in text
    assert page.title() == "r: legacy and new compared"
    assert page.locator("script, img, i, b").count() == 0
    assert page.locator("[style], [onerror], [src], a").count() == 0
    assert events == []
    assert "The gate is not passed" in page.locator(".verdict h2").inner_text()
    row = page.locator(".values tr").filter(has=page.locator("th", has_text=re.compile(r"^\$\.a$"))).first
    assert (row.locator(".was").inner_text(), row.locator(".is").inner_text()) == ("1", '"1"')
    assert page.locator("pre.curl").first.inner_text().startswith("curl --globoff")
    colours = page.evaluate("[...document.querySelectorAll('.chart .matched, .chart .mismatched')].map(e => getComputedStyle(e).fill)")
    assert len(set(colours)) == 2, "the style sheet is in force"


@pytest.mark.browser
@pytest.mark.django_db
def test_it_is_accessible_light_and_dark_and_fits_a_narrow_window(opened: tuple[Page, list[str]]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, _ = opened
    page.evaluate("document.querySelector('meta[http-equiv]').remove()")  # axe adds a style of its own
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        results = Axe().run(page)
        assert results.violations_count == 0, f"{scheme}\n{results.generate_report()}"
    assert len(backgrounds) == 2
    for width in (1100, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"


@pytest.mark.browser
@pytest.mark.django_db
def test_it_can_be_printed_on_a4(opened: tuple[Page, list[str]], tmp_path: Path) -> None:
    page, _ = opened
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"), (
        "ink is not wasted"
    )
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF-")
    boxes = [tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", printed)]
    assert boxes, "its pages' sizes can be read"
    assert {(round(box[2]), round(box[3])) for box in boxes} <= {(595, 842), (596, 842), (595, 841), (594, 842)}
    (tmp_path / "report.pdf").write_bytes(printed)
