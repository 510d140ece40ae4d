"""Every page of the console is among those that the benchmark measures, or is named there with a reason."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import resolve, reverse

from bench.pages import PAGES, UNMEASURED
from console.urls import urlpatterns

PLACES = {"signature": "/signatures/1/samples/1/", "signature_root": "/signatures/1/"}
ARGUMENTS = {"int": 1, "str": "reviews"}


def measured() -> set[str]:
    """Names of what the benchmark asks for."""
    return {resolve(path.format(**PLACES).partition("?")[0]).url_name or "" for path in PAGES.values()}


def test_what_is_not_measured_is_there_and_is_not() -> None:
    names = {pattern.name for pattern in urlpatterns}
    assert set(UNMEASURED) <= names
    assert not set(UNMEASURED) & measured()
    assert all(UNMEASURED.values())


@pytest.mark.django_db
def test_whatever_else_is_no_page() -> None:
    user = User.objects.create_user("olga")
    user.groups.set(Group.objects.filter(name="operator"))
    client = Client()
    client.force_login(user)
    rest = [pattern for pattern in urlpatterns if pattern.name not in measured() | set(UNMEASURED)]
    assert rest, "some things are only done"
    for pattern in rest:
        found = re.findall(r"<(int|str):(\w+)>", str(pattern.pattern))
        address = reverse(str(pattern.name), kwargs={name: ARGUMENTS[kind] for kind, name in found})
        assert client.get(address).status_code == 405, f"{pattern.name} is a page: measure it, or say why not"
