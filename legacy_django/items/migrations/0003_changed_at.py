import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('items', '0002_item_stock'),
    ]

    operations = [
        migrations.AddField(
            model_name='item',
            name='changed_at',
            field=models.DateTimeField(default=django.utils.timezone.now, help_text='its words, its price or its discount'),
        ),
        migrations.AddField(
            model_name='item',
            name='stock_changed_at',
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
    ]
