"""What a drill tells: its exit status is its bars', its JSON is whole, its charts show what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from drills import picture, terminal
from drills.report import Bar, Chart, Figure, Level, Line, Mark, Report
from drills.telling import tell

CHART = Chart(
    "Orders paid",
    "a second",
    0.5,
    [Line("without the gateway", [50.0] * 10 + [0.0] * 10, False), Line("with the gateway", [50.0] * 20, True)],
    [Mark(5.0, "killed", 7.0)],
    [Level(50.0, "asked for")],
)
REPORT = Report(
    "provider",
    "A provider dies",
    [Figure("failed", "orders that failed", 312, 0), Figure("p99_ms", "p99", None, 12.34, "ms")],
    [Bar("doubled", "0", "0", True)],
    [CHART],
    ["a note"],
)


@pytest.mark.parametrize(("held", "status"), [([True], 0), ([True, False], 1), ([], 1)], ids=["held", "one missed", "no bar at all"])
def test_the_exit_status_is_the_bars(held: list[bool], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    report = replace(REPORT, bars=[Bar(f"bar {number}", "0", "1", ok) for number, ok in enumerate(held)])
    assert tell(report, print, as_json=True, to=None) == status
    assert json.loads(capsys.readouterr().out)["ok"] is (status == 0)


def test_json_holds_both_runs_and_the_curves(capsys: pytest.CaptureFixture[str]) -> None:
    tell(replace(REPORT, more={"payments": 1000}), print, as_json=True, to=None)
    told = json.loads(capsys.readouterr().out)
    assert told["without"] == {"failed": 312, "p99_ms": None}
    assert told["with"] == {"failed": 0, "p99_ms": 12.34}
    assert told["charts"][0]["lines"][1]["values"] == [50.0] * 20
    assert told["payments"] == 1000


def test_people_are_told_figures_bars_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    tell(replace(REPORT, bars=[*REPORT.bars, Bar("lost", "0", "2", False)]), print, as_json=False, to=None)
    out = capsys.readouterr().out
    for text in ("orders that failed", "312", "12.3 ms", "held    doubled: 0 (wanted: 0)", "MISSED  lost: 2 (wanted: 0)", "a note", "█"):
        assert text in out


@pytest.mark.parametrize("unicode", [True, False])
def test_a_panel_is_as_high_as_its_values(unicode: bool) -> None:
    lines = terminal.draw(CHART, 60, unicode=unicode).plain.splitlines()
    full = "█" if unicode else "#"
    assert lines[1].strip() == "without the gateway"
    panel = [line[5:] for line in lines[2 : 2 + terminal.HEIGHT]]
    half = (60 - 6) // 2
    assert panel == [full * half] * terminal.HEIGHT  # and nothing where the values are 0
    assert any(line.strip().startswith("1 killed (5.0-7.0 s)") for line in lines)


def test_nothing_measured_is_no_division_by_zero(tmp_path: Path) -> None:
    empty = replace(CHART, lines=[Line("with the gateway", [], True)], levels=())
    terminal.draw(empty, 80)
    picture.draw(replace(REPORT, charts=[empty]), tmp_path / "empty.png")


def test_the_picture_shows_both_curves_and_is_small(tmp_path: Path) -> None:
    path = tmp_path / "drill.png"
    picture.draw(REPORT, path)
    assert path.stat().st_size < 250_000
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == picture.WIDTH
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}

    def near(text: str) -> bool:
        wanted = bytes.fromhex(text.removeprefix("#"))
        return any(isinstance(colour, tuple) and sum(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 60 for colour in colours)

    assert near(picture.WITH)
    assert near(picture.WITHOUT)
