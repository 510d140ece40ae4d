"""Who may do what, asked of Django itself."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from console.roles import Role, context, requires, role_of


def user(*groups: str, superuser: bool = False) -> User:
    made = User.objects.create_user(f"u{User.objects.count()}", is_superuser=superuser)
    made.groups.set(Group.objects.filter(name__in=groups))
    assert made.groups.count() == len(groups)
    return made


@pytest.mark.django_db
def test_the_highest_group_counts_and_none_is_a_viewer() -> None:
    assert role_of(user()) is Role.VIEWER
    assert role_of(user("reviewer")) is Role.REVIEWER
    assert role_of(user("viewer", "operator", "reviewer")) is Role.OPERATOR
    assert role_of(user(superuser=True)) is Role.OPERATOR
    assert role_of(AnonymousUser()) is Role.VIEWER


@pytest.mark.django_db
def test_a_view_is_for_its_role_and_those_above_it() -> None:
    @requires(Role.REVIEWER)
    def view(request: HttpRequest, number: int) -> HttpResponse:
        return HttpResponse(str(number))

    request = HttpRequest()
    for groups, allowed in ((("viewer",), False), ((), False), (("reviewer",), True), (("operator",), True)):
        request.user = user(*groups)
        assert context(request)["can_review"] is allowed
        if allowed:
            assert view(request, number=7).content == b"7"
        else:
            with pytest.raises(PermissionDenied, match="reviewer"):
                view(request, number=7)
