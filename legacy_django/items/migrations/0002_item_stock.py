from django.db import migrations, models

SUM = "UPDATE items_item SET stock = (SELECT COALESCE(SUM(stock), 0) FROM items_option WHERE items_option.item_id = items_item.id)"


class Migration(migrations.Migration):

    dependencies = [
        ('items', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='item',
            name='stock',
            field=models.PositiveIntegerField(default=0, help_text='of all options together'),
        ),
        migrations.RunSQL(SUM, migrations.RunSQL.noop),
    ]
