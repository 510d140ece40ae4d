"""Who is let in: in doubt, nobody."""

from __future__ import annotations

import pytest

from gateway.policy.admission import Need, Standing, refusal
from gateway.policy.problems import Problem


@pytest.mark.parametrize("standing", list(Standing))
@pytest.mark.parametrize("need", [Need.IGNORED, Need.OPTIONAL])
def test_where_nobody_has_to_be_logged_in_everybody_goes_on(need: Need, standing: Standing) -> None:
    assert refusal(need, standing, "POST") is None


@pytest.mark.parametrize(
    ("standing", "problem", "status"),
    [
        (Standing.KNOWN, None, 0),
        (Standing.NOBODY, Problem.UNAUTHENTICATED, 401),
        (Standing.REFUSED, Problem.UNAUTHENTICATED, 401),
        (Standing.UNSAID, Problem.IDENTITY_UNAVAILABLE, 503),
    ],
)
def test_where_somebody_has_to_be_known_only_he_does(standing: Standing, problem: Problem | None, status: int) -> None:
    assert refusal(Need.REQUIRED, standing, "OPTIONS") is None, "a browser asks so before it sends what it is asked for"
    found = refusal(Need.REQUIRED, standing, "GET")
    assert found is problem
    if found is not None:
        assert found.status == status
