"""What is said of a database's address that is none, and what is never said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command

from shadow.database import DatabaseURLError, settings


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://u:hunter2/x@h:1/name", "a bad port or host; write / @ : [ in a password as %2F"),
        ("postgres://u:hunter2@[h/name", "a bad port or host"),
        ("postgres://u:hunter2@h:99999/name", "a bad port or host"),
        ("postgres://u:hunter2@h:1", "the database's name is missing"),
        ("hunter2://h/name", 'write "sqlite:///path" or "postgres://user:password@host:port/name"'),
        ("sqlite://u:hunter2@h/name", 'write "sqlite:///relative/path" or "sqlite:////absolute/path"'),
    ],
)
def test_nothing_of_a_wrong_address_is_repeated(url: str, says: str) -> None:
    with pytest.raises(DatabaseURLError) as caught:
        settings(url, Path())
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.django_db
def test_the_migrations_make_what_the_models_say() -> None:
    call_command("makemigrations", "shadow", "--check", "--dry-run", verbosity=0)
