from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shadow", "0005_states_and_requests")]

    operations = [
        migrations.CreateModel(
            name="GuardTrip",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.CharField(help_text="the supervisor's run", max_length=100)),
                ("number", models.BigIntegerField()),
                ("at", models.FloatField(help_text="Unix seconds")),
                ("route", models.CharField(max_length=100)),
                ("flag", models.CharField(max_length=200)),
                ("reason", models.CharField(help_text="errors, latency, mismatch; restart: what was begun before one", max_length=20)),
                ("why", models.TextField(help_text="the same in words, with the figures")),
                ("figures", models.JSONField(help_text="of both sides")),
                ("outcome", models.CharField(help_text="pending, switched-off, already-off, on-again", max_length=20)),
                ("overridden", models.BooleanField(help_text="the flag was overridden on this gateway, at once")),
                ("error", models.TextField(help_text="why it cannot be turned off where it lives")),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="guardtrip_age"), models.Index(fields=["route", "at"], name="guardtrip_route")],
                "constraints": [models.UniqueConstraint(fields=("gateway", "number"), name="guardtrip_once")],
            },
        ),
    ]
