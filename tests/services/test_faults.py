"""The table of faults, and what BANYAN_FAULTS may hold."""

from __future__ import annotations

import pytest

from services.faults import SIGNATURES, Fault, UnknownFaultError, expected, of_service, parse
from shadow.compare import Kind


def test_every_fault_has_one_signature_of_its_own_that_the_comparison_could_give() -> None:
    assert set(SIGNATURES) == set(Fault)
    assert len(set(SIGNATURES.values())) == len(Fault)
    assert {signature.kind for signature in SIGNATURES.values()} <= set(Kind)
    assert of_service("reviews") | of_service("recommendations") == set(Fault)
    assert not of_service("reviews") & of_service("recommendations")
    assert expected([]) == frozenset()


def test_the_variable_is_a_list_for_all_services() -> None:
    assert parse("", "reviews") == frozenset()
    assert parse(" rounded_average, other_order,,", "reviews") == {Fault.ROUNDED_AVERAGE}
    assert parse("rounded_average,other_order", "recommendations") == {Fault.OTHER_ORDER}


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        UnknownFaultError, match=r"^BANYAN_FAULTS: unknown fault 'Rounded', 'x'; known: rounded_average, .*empty_instead_of_404$"
    ):
        parse("x,Rounded,rounded_average", "reviews")
