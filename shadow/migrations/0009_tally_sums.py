from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def fill(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Sums of what is stored already."""
    from shadow import sums

    sums.rebuild()


class Migration(migrations.Migration):

    dependencies = [
        ('shadow', '0008_timeline'),
    ]

    operations = [
        migrations.CreateModel(
            name='TallySum',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('route', models.CharField(max_length=100)),
                ('width', models.PositiveSmallIntegerField(help_text='seconds: 600 or 3600; 60 only of what Tally has by the second')),
                ('at', models.BigIntegerField(help_text='Unix seconds at which the span begins')),
                ('name', models.CharField(max_length=100)),
                ('count', models.BigIntegerField()),
            ],
            options={
                'indexes': [
                    models.Index(fields=['at'], name='tallysum_age'),
                    models.Index(condition=models.Q(('width', 60)), fields=['at'], name='tallysum_minutes'),
                ],
                'constraints': [models.UniqueConstraint(fields=('route', 'width', 'at', 'name'), name='tallysum_once')],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
