from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shadow", "0002_flag_changes")]

    operations = [
        migrations.CreateModel(
            name="Consumed",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("producer", models.CharField(help_text="one shipper's run", max_length=64)),
                ("number", models.BigIntegerField(help_text="of the message, by its producer")),
                ("sequence", models.BigIntegerField(help_text="of the message, in the stream")),
                ("at", models.FloatField(help_text="Unix seconds at which it was counted")),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="consumed_age")],
                "constraints": [models.UniqueConstraint(fields=("producer", "number"), name="consumed_once")],
            },
        ),
    ]
