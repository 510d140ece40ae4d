"""Migrations that a killed process leaves whole or not made.

Django makes a migration in a transaction, but where it has indexes to make last it records only afterwards that it was made. A process that
is killed between the two leaves a database that can never be migrated again ("duplicate column name"), and so never be written.
"""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.commands import migrate as command
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration


class Whole(MigrationExecutor):
    """Records a migration in the transaction in which it is made."""

    def apply_migration(self, state: Any, migration: Migration, fake: bool = False, fake_initial: bool = False) -> Any:
        """As Django's, but for when it is recorded."""
        if fake or fake_initial or not migration.atomic:
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)
        if self.progress_callback is not None:
            self.progress_callback("apply_start", migration, fake)
        with self.connection.schema_editor(atomic=True) as editor:
            state = migration.apply(state, editor)
            while editor.deferred_sql:
                editor.execute(editor.deferred_sql.pop(0), None)
            self.record_migration(migration.app_label, migration.name)
        if self.progress_callback is not None:
            self.progress_callback("apply_success", migration, fake)
        return state


def migrate() -> None:
    """Brings the tables up to date, and sends the signals that Django sends then.

    Raises:
        django.db.Error: the database refused.
    """
    command.MigrationExecutor = Whole  # type: ignore[attr-defined] # the command has no other place for one
    call_command("migrate", interactive=False, verbosity=0)
