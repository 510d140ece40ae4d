from django.db import migrations, models
from django.utils import timezone


def _now(apps, schema_editor):
    """Of what is there already it is not known when. So it was now: that is never too early."""
    changed = apps.get_model("reviews", "Changed")
    at = timezone.now()
    items = apps.get_model("items", "Item").objects.values_list("pk", flat=True)
    changed.objects.bulk_create((changed(item_id=item, at=at) for item in items), batch_size=500)


class Migration(migrations.Migration):

    dependencies = [
        ('items', '0001_initial'),
        ('reviews', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Changed',
            fields=[
                ('item_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.RunPython(_now, migrations.RunPython.noop),
    ]
