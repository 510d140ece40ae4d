from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shadow", "0011_endpoints"),
    ]

    operations = [
        migrations.AddField(
            model_name="flagchange",
            name="again",
            field=models.BooleanField(db_default=False, default=False, help_text="another gateway had told of it: pages show it once"),
        ),
    ]
