"""The events drill: its bars, each of which can be missed; and a short run of it, with everything killed once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from demo.processes import Running, python, start
from drills.events import Found, report, run
from drills.moving import PARTS, World
from drills.stage import stage
from drills.tallying import Line
from tests.support.required import missing


def found(**more: object) -> Found:
    emitted = {number: (f"id-{number}", f"key-{number % 3}") for number in range(1, 1001)}
    effects = [Line(event, key, number, number / 100, number / 100 + 0.05) for number, (event, key) in emitted.items()]
    good = Found(emitted, effects, 8.0, {"reviews": 0, "product_view": 0}, 0, [0.02] * 10, [0.003] * 10)
    good.kills = Counter(dict.fromkeys(PARTS, 5))
    return replace(good, **more)  # type: ignore[arg-type]


def missed(one: Found) -> list[str]:
    return [bar.name for bar in report(one, 1000, 100.0, 5).bars if not bar.ok]


def test_all_bars_are_held() -> None:
    good = found()
    assert (good.lost, good.doubled, good.disordered) == (0, 0, 0)
    assert good.calm_rate == pytest.approx(100, rel=0.02)
    assert good.p95 == pytest.approx(0.05)
    assert missed(good) == []


def test_each_bar_can_be_missed() -> None:
    effects = found().effects
    assert missed(found(effects=effects[:-1])) == ["events lost"]
    assert missed(found(effects=[*effects, effects[-1]])) == ["effects doubled"]
    swapped = [*effects[:-4], effects[-1], *effects[-4:-1]]
    assert missed(found(effects=swapped)) == ["effects out of their key's order"]
    assert missed(found(drift={"reviews": 1, "product_view": 0})) == ["rows of the services that differ"]
    assert missed(found(documents=1)) == ["documents of the view that differ"]
    slow = [replace(effect, applied=effect.written + 0.6) if effect.sequence % 10 == 0 else effect for effect in effects]
    assert missed(found(effects=slow)) == ["p95 end to end at 100 events a second"]
    thin = [replace(effect, written=effect.written * 0.5, applied=effect.applied * 0.5) for effect in effects]
    assert missed(found(effects=thin, calm=4.0)) == []  # faster than asked is no fault
    assert "p95 end to end at 100 events a second" in missed(found(calm=0.0)), "nothing was timed"
    assert missed(found(ready=[0.005] * 10)) == ["p95 of a read of the view"]
    assert "events lost" in missed(found(emitted={}, effects=[]))
    deaths = "deaths of relay, broker and consumers"
    assert missed(found(kills=Counter(dict.fromkeys(PARTS[1:], 5)))) == [deaths], "one was never killed"
    assert missed(found(kills=Counter({**dict.fromkeys(PARTS, 5), "relay": 6, "broker": 4}))) == [deaths], "as many, and not of each"


def part(folder: Path, code: str) -> Running:
    return start("relay", python("-c", f"print('its last words', flush=True); {code}"), log_dir=folder)


@pytest.mark.parametrize(("code", "dies"), [("raise SystemExit(3)", True), ("import time; time.sleep(60)", False)])
def test_a_part_that_died_by_itself_is_no_death_of_the_drill(
    code: str, dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[str] = []
    monkeypatch.setattr(World, "start", lambda world, name: again.append(name))
    with stage("events", lambda line: None) as found:
        world = World(found, tail=False)
        world.parts["relay"] = running = part(tmp_path, code)
        try:
            if dies:
                running.process.wait(30)
            world._kill("relay", 0.0, [0.0], [0.0], threading.Event())
        finally:
            running.stop()
    if dies:
        assert world.trouble == "relay has ended by itself:\nits last words"
        assert (world.deaths, again) == ([], []), "and nobody starts it again"
    else:
        assert (world.trouble, [death.part for death in world.deaths], again) == ("", ["relay"], ["relay"])


@pytest.mark.timeout(400)
def test_nothing_is_lost_doubled_or_reordered_though_everything_dies() -> None:
    """What is timed is not asked for: a machine that also runs other tests is no place for it."""
    try:
        told = run(lambda line: None, events=1200, rate=120.0, kills=1, tail=True)
    except ModuleNotFoundError as error:
        missing(f"the drill needs {error.name}", cause=error)
    figures = {figure.key: figure.with_gateway for figure in told.figures}
    assert figures["kills"] == 5
    assert isinstance(figures["events"], int)
    assert figures["events"] >= 1200
    assert {figures[name] for name in ("lost", "doubled", "disordered", "drift", "documents")} == {0}
