"""What the benchmarks conclude from what they measured: bars, percentiles, ratios, the page, and the words of perf and callgrind."""

from importlib import import_module
from operator import attrgetter

import pytest

from bench import page, parts, perf
from bench.bars import BARS, Bar
from bench.bodies import ratio
from bench.latency import Times
from bench.open_loop import percentile
from bench.section import Section
from gateway import compiled


def test_the_bars_are_what_was_promised() -> None:
    promised = {name: (bar.limit, bar.unit, bar.at_least) for name, bar in BARS.items()}
    assert promised == {
        "passthrough": (0.5, "", False),
        "shadow": (0.5, "", False),
        "upload": (0.5, "", True),
        "download": (0.5, "", True),
        "both": (0.5, "", True),
        "bodies-memory": (20.0, "MiB", False),
        "idle": (25.0, "KiB", False),
        "busy": (80.0, "MiB", False),
        "latency": (1.5, "ms", False),
        "decision": (1.5, "µs", False),
        "flag-pause": (10.0, "ms", False),
        "flagged": (5.0, "µs", False),
        "policy": (6.0, "µs", False),
        "identity": (6.0, "µs", False),
        "identity-asked": (2.0, "%", False),
        "flip-file": (200.0, "ms", False),
        "flip-override": (200.0, "ms", False),
        "flip-unleash": (2000.0, "ms", False),
        "compare-equal": (5000.0, "a second", True),
        "compare-one": (300.0, "a second", True),
        "compare-twenty": (60.0, "ms", False),
        "compare-keyed": (20.0, "ms", False),
        "replay": (500.0, "a second", True),
        "hung": (1.0, "ms", False),
        "hung-memory": (20.0, "MiB", False),
        "console": (150.0, "ms", False),
        "top": (20.0, "s", False),
        "top-memory": (200.0, "MiB", False),
    }


@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
def test_the_page_has_a_line_for_each_bar(bar: Bar) -> None:
    (line,) = [line for line in page.PAGE.read_text().splitlines() if line.startswith(f"- {bar.says()}; seen ")]
    assert line.endswith((": held.", ": missed.")), "a page with figures that say nothing is not written down"


@pytest.mark.parametrize(
    ("bar", "seen", "held"),
    [
        (Bar("cost", 0.5), 0.5, True),
        (Bar("cost", 0.5), 0.501, False),
        (Bar("speed", 0.5, at_least=True), 0.5, True),
        (Bar("speed", 0.5, at_least=True), 0.499, False),
        (Bar("cost", 0.5), float("nan"), False),
        (Bar("speed", 0.5, at_least=True), float("nan"), False),
    ],
)
def test_a_bar_is_held_or_missed(bar: Bar, seen: float, held: bool) -> None:
    assert bar.judge(seen).held is held


def test_how_a_verdict_reads() -> None:
    assert str(BARS["idle"].judge(5.24)) == "Memory of an idle connection: at most 25.0 KiB; seen 5.2 KiB: held"
    assert str(BARS["upload"].judge(0.4)) == "Throughput of an upload over nginx's: at least 0.50; seen 0.40: missed"
    disturbed = BARS["latency"].judge(0.1, "others took 90% of the two cores")
    assert not disturbed.held
    assert str(disturbed).endswith("seen 0.1 ms: not judged, for others took 90% of the two cores")


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([], 0.99, 0.0),
        ([7.0], 0.5, 7.0),
        ([7.0], 0.999, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(number) for number in range(1, 101)], 0.99, 99.0),
        ([float(number) for number in range(1, 101)], 0.995, 100.0),
        ([float(number) for number in range(1, 102)], 0.99, 100.0),
        ([float(number) for number in range(1, 1001)], 0.99, 990.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentile(values: list[float], share: float, wanted: float) -> None:
    assert percentile(values, share) == wanted


def test_a_body_is_compared_with_the_faster_nginx_of_its_round() -> None:
    assert ratio([100, 300, 100], [[200, 300, 50], [100, 600, 100]]) == 0.5


def test_what_is_added_is_taken_within_a_round() -> None:
    direct = Times(p50=[1, 1], p99=[2, 20])
    assert Times(p50=[1, 1], p99=[3, 22]).added(direct) == [1, 2]


def test_a_page_keeps_what_was_not_measured_anew() -> None:
    old = "# Benchmarks\n\nOld words.\n\n## Shadow at 100 %\n\nold\n\n## Latency at half load\n\nold too\n"
    new = {section.title: section.markdown("*then*") for section in [Section("Latency at half load", ["peer"], [["Banyan"]])]}
    new |= {"Pass-through, 2000 requests/s": "## Pass-through, 2000 requests/s\n\nnew\n"}
    assert page.merge("# Benchmarks\n\nNew words.\n", old, new) == (
        "# Benchmarks\n\nNew words.\n\n## Pass-through, 2000 requests/s\n\nnew\n\n## Shadow at 100 %\n\nold\n\n"
        "## Latency at half load\n\n*then*\n\n| peer |\n| --- |\n| Banyan |\n"
    )
    assert page.merge("# Benchmarks\n\nNew words.\n", page.merge("# Benchmarks\n\nNew words.\n", old, new), {}) == page.merge(
        "# Benchmarks\n\nNew words.\n", old, new
    )


def test_a_section_has_a_line_for_each_bar_and_each_peer() -> None:
    section = Section("Idle", ["peer", "KiB"], [["Banyan", "5"]], "How.", "Why.", [BARS["idle"].judge(5)], {"envoy": "not installed"})
    assert section.markdown("*when*") == (
        "## Idle\n\nHow.\n\n*when*\n\n| peer | KiB |\n| --- | --- |\n| Banyan | 5 |\n| envoy: not installed |  |\n\n"
        "- Memory of an idle connection: at most 25.0 KiB; seen 5.0 KiB: held.\n\nWhy.\n"
    )


def test_samples_are_counted_by_what_was_called() -> None:
    script = (
        "\tffffffff81 tcp_ack ([kernel.kallsyms])\n\tffffffff82 ksys_write ([kernel.kallsyms])\n\t7f00 write (/usr/lib/libc.so.6)\n\n"
        "\tffffffff81 _raw_spin ([kernel.kallsyms])\n\tffffffff82 __x64_sys_epoll_pwait ([kernel.kallsyms])\n\n"
        "\tffffffff81 irq_entry ([kernel.kallsyms])\n\n"
        "\t7f01 CPyDef_relay___Relay___start (/srv/python3.13/gateway/edge__mypyc.cpython-313-x86_64-linux-gnu.so)\n\n"
        "\t7f02 uv__io_poll (/lib/python3.13/site-packages/uvloop/loop.cpython-313-x86_64-linux-gnu.so)\n\n"
        "\t7f03 _PyObject_Malloc (/usr/lib/libpython3.13.so.1.0)\n"
    )
    assert perf.count(script) == {
        "kernel, write": 1,
        "kernel, wait for events": 1,
        "kernel, other": 1,
        "engine, compiled": 1,
        "uvloop": 1,
        "CPython": 1,
    }


@pytest.mark.parametrize("name", [*parts.ENTRIES, *(name for names in parts.PARTS.values() for name in names)])
def test_what_is_counted_as_a_part_is_a_function_of_the_engine(name: str) -> None:
    module, *attributes = name.removeprefix("CPyDef_").split("___")
    (source,) = [path for path in compiled.sources() if path.stem == module]
    dotted = ".".join(source.relative_to(compiled.ROOT).with_suffix("").parts)
    assert callable(attrgetter(".".join(attributes))(import_module(dotted)))


def test_the_parts_of_the_engine_are_split_by_what_callgrind_counted() -> None:
    annotated = (
        "1,000 (100.0%)  PROGRAM TOTALS\n"
        "  600 (60.00%)  ???:CPyDef_downstream___Downstream___data_received [/a/edge__mypyc.so]\n"
        "  300 (30.00%)  ???:CPyDef_recurring___Requests___read [/a/edge__mypyc.so]\n"
        "  100 (10.00%)  ???:CPyDef_decision___Policy___decide [/a/edge__mypyc.so]\n"
        "   50 ( 5.00%)  ???:CPyDef_peer___Peer___context [/a/edge__mypyc.so]\n"
    )
    split = parts.split(annotated)
    assert isinstance(split, dict)
    assert split["reading the request's head"] == 0.3
    assert split["routing and the flag decision"] == pytest.approx(0.15)
    assert sum(split.values()) == pytest.approx(1)
    assert parts.split("") == "callgrind counted nothing"
