from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shadow", "0011_endpoints"),
    ]

    operations = [
        migrations.AddField(
            model_name="flagchange",
            name="again",
            field=models.BooleanField(default=False, help_text="another gateway had told of the same change: pages show it once"),
        ),
    ]
