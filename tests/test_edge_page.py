"""docs/reference/edge.md names every behaviour and tests that exist, and the closing line says what a run has shown and no more."""

import re

from tests.support.corpus import cases
from tests.support.edge_page import COMES, CORPUS, PAGE, ROOT, Item, items, summary

ITEMS = range(1, 67)
"""The design's list."""


def test_every_behaviour_is_there_once_and_in_order() -> None:
    assert [item.number for item in items()] == list(ITEMS)


def test_every_named_test_exists() -> None:
    in_corpus = {case.item for case in cases()}
    for item in items():
        for name in item.tests:
            if name == "corpus":
                assert item.number in in_corpus, f"{item.number}: no case in tests/corpus"
                continue
            path, _, function = name.partition("::")
            assert re.search(rf"^(async )?def {re.escape(function)}\(", (ROOT / path).read_text(), re.MULTILINE), f"{item.number}: {name}"


def test_every_item_of_the_corpus_is_on_the_page() -> None:
    assert {case.item for case in cases()} == {item.number for item in items() if "corpus" in item.tests}


def test_cases_have_names_that_pytest_leaves_alone() -> None:
    for case in cases():
        assert case.id.isascii(), case.id
        assert case.id.isprintable(), case.id
        assert not set(case.id) & set("[]\\"), case.id


def test_every_number_that_the_code_cites_is_a_behaviour() -> None:
    for path in [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for cited in re.findall(r"edge\.md (\d+)", path.read_text()):
            assert int(cited) in ITEMS, f"{path}: edge.md {cited}"


def test_a_row_names_tests_or_says_with_what_it_comes() -> None:
    rows = re.findall(r"^\| \d+ \| .*\|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len(ITEMS)
    for row in rows:
        assert re.search(rf"\| {COMES}[\w' ]+ \|$", row) or re.search(
            r"\| (corpus|tests/[\w/]+\.py::test_\w+)(; tests/[\w/]+\.py::test_\w+)* \|$", row
        ), row


def _of(number: int) -> set[str]:
    """Ids of all tests of one item."""
    return {test for name in items()[number - 1].tests for test in items()[number - 1].wanted(name, set())}


def test_the_closing_line_counts_what_ran_and_passed() -> None:
    assert summary(_of(1), set()).startswith("edge.md: 1 of 66 behaviours hold")
    everything = {test for item in items() for test in _of(item.number)}
    whole = [item for item in items() if not item.comes_with and not item.in_part]
    assert summary(everything, set()).startswith(f"edge.md: {len(whole)} of 66 behaviours hold")
    assert "BROKEN" not in summary(everything, set())
    assert "ran" not in summary(everything, set())


def test_one_case_less_and_the_behaviour_does_not_hold() -> None:
    for missing in _of(2):
        assert summary(_of(2) - {missing}, set()).startswith("edge.md: 0 of 66 behaviours hold")


def test_one_test_that_failed_and_the_behaviour_is_broken() -> None:
    failed = next(iter(_of(2)))
    assert failed.startswith(CORPUS)
    assert summary(_of(1) | _of(2) - {failed}, {failed}).startswith("edge.md: 1 of 66 behaviours hold; 1 BROKEN (2); ")


def test_of_a_test_with_parameters_all_that_ran_have_to_pass() -> None:
    item = items()[30]
    (name,) = (test for test in item.tests if "drip" in test)
    rest = _of(31) - {name}
    assert summary({f"{name}[True]", f"{name}[False]"} | rest, set()).startswith("edge.md: 1 of 66 ")
    assert "1 BROKEN (31)" in summary({f"{name}[True]"} | rest, {f"{name}[False]"})
    assert summary(rest, set()).startswith("edge.md: 0 of 66 ")


def test_what_is_to_come_and_what_holds_in_part_is_not_counted() -> None:
    some = (Item(1, "One", ("a",)), Item(2, "Two. In part: the rest comes", ("b",)), Item(3, "Three", (), "comes with four"))
    assert summary({"a", "b"}, set(), some) == "edge.md: 1 of 3 behaviours hold; 1 hold in part (2); 1 to come (3)"
