from django.db import migrations

from events.inbox import SCHEMA


def _make_inbox(apps, schema_editor):
    """What of the inbox's tables was not there when 0002 ran."""
    for statement in SCHEMA:
        schema_editor.execute(statement)


class Migration(migrations.Migration):

    dependencies = [
        ("outbox", "0002_as_of"),
    ]

    operations = [
        migrations.RunPython(_make_inbox, migrations.RunPython.noop),
    ]
