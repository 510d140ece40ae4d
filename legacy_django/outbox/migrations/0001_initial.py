from django.db import migrations, models

from events.inbox import SCHEMA


def _add_transaction(apps, schema_editor):
    """The transaction's number, on PostgreSQL alone: whoever copies the shop's tables sees by it which events the copy holds already. xid8
    does not wrap around."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE outbox_event ADD COLUMN txid xid8 NOT NULL DEFAULT pg_current_xact_id()")
        # Rows come and go all the time, and a table that is empty by its statistics is planned wrongly when it is full.
        schema_editor.execute("ALTER TABLE outbox_event SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)")


def _make_inbox(apps, schema_editor):
    """The tables of events.inbox: no models, since whoever applies events needs no Django elsewhere."""
    for statement in SCHEMA:
        schema_editor.execute(statement)


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                ("number", models.BigAutoField(primary_key=True, serialize=False)),
                ("event_id", models.UUIDField(unique=True)),
                ("partition", models.SmallIntegerField()),
                ("key", models.CharField(max_length=120)),
                ("source", models.CharField(max_length=40)),
                ("type", models.CharField(max_length=60)),
                ("subject", models.CharField(max_length=120)),
                ("origin", models.CharField(max_length=40)),
                ("time", models.CharField(help_text="RFC 3339: the same text in either database", max_length=32)),
                ("data", models.TextField(help_text="JSON")),
            ],
            options={
                "indexes": [models.Index(fields=["partition", "number"], name="outbox_in_order")],
            },
        ),
        migrations.RunPython(_add_transaction, migrations.RunPython.noop),
        migrations.RunPython(_make_inbox, migrations.RunPython.noop),
    ]
