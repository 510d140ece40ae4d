"""What a person may do in the console: a viewer reads, a reviewer decides about differences, an operator also steers traffic.

A role is a Django group of the same name, so that it can be given by anything that knows Django's users; who is in several has the highest,
who is in none is a viewer. A superuser is an operator. Who may do a thing is asked on the server at every request.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from console import glossary

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    REVIEWER = 2
    OPERATOR = 3

    @property
    def word(self) -> str:
        """As its group is called."""
        return self.name.lower()


_KNOWN = "_banyan_role"
"""On the user of a request, as Django's own backends keep permissions there."""
GROUPS = {role.word: role for role in Role}


def role_of(user: User | AnonymousUser) -> Role:
    """One query, remembered with the user."""
    if not user.is_authenticated:
        return Role.VIEWER
    if user.is_superuser:
        return Role.OPERATOR
    known: Role | None = user.__dict__.get(_KNOWN)
    if known is None:
        names = user.groups.values_list("name", flat=True)
        known = user.__dict__[_KNOWN] = max((GROUPS[name] for name in names if name in GROUPS), default=Role.VIEWER)
    return known


def requires[**P, R: HttpResponseBase](
    role: Role,
) -> Callable[[Callable[Concatenate[HttpRequest, P], R]], Callable[Concatenate[HttpRequest, P], R]]:
    """A view for that role and those above it; all others get 403, before anything is read or changed."""

    def decorate(view: Callable[Concatenate[HttpRequest, P], R]) -> Callable[Concatenate[HttpRequest, P], R]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if role_of(request.user) < role:
                raise PermissionDenied(f"this is for a {role.word}")
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def context(request: HttpRequest) -> dict[str, Any]:
    """For templates: `role`, and whether it `can_review` and `can_operate`."""
    role = role_of(request.user) if hasattr(request, "user") else Role.VIEWER
    return {"role": glossary.role(role.word), "can_review": role >= Role.REVIEWER, "can_operate": role >= Role.OPERATOR}


def make_groups(**_: object) -> None:
    """The three groups; after every migration."""
    from django.contrib.auth.models import Group

    for role in Role:
        Group.objects.get_or_create(name=role.word)
