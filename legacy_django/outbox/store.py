"""The shop's database as an inbox writes it: what comes back from services that took a part of the shop over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

from events.inbox import Execute, InboxError


class DjangoStore:
    """Django's connection of this thread. Effects may use models: they are in the same transaction."""

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        try:
            with transaction.atomic():
                yield execute
        except (OperationalError, InterfaceError) as error:
            connection.close()  # whatever it was, the next try has a new one
            raise InboxError(f"the shop's database: {str(error).strip().partition('\n')[0]}") from error


def execute(statement: str, *arguments: Any) -> Sequence[Sequence[Any]]:
    """`statement` with ? for its arguments, as inboxes write it."""
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("?", "%s"), arguments)
        return cursor.fetchall() if cursor.description is not None else []
