import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('shadow', '0004_rules'),
    ]

    operations = [
        migrations.AddField(
            model_name='sample',
            name='request',
            field=models.JSONField(null=True, help_text='headers and body; none: of before these were kept'),
        ),
        migrations.AddField(
            model_name='signature',
            name='state_since',
            field=models.FloatField(db_default=0.0, help_text='Unix seconds at which somebody gave it its state; 0: nobody has'),
        ),
        migrations.CreateModel(
            name='StateChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.FloatField(help_text='Unix seconds')),
                ('old', models.CharField(choices=[('new', 'New'), ('expected', 'Expected'), ('bug', 'Bug'), ('fixed', 'Fixed')], max_length=10)),
                ('new', models.CharField(choices=[('new', 'New'), ('expected', 'Expected'), ('bug', 'Bug'), ('fixed', 'Fixed')], max_length=10)),
                ('by', models.CharField(help_text='who; banyan itself where it was seen again after the fix', max_length=200)),
                ('why', models.TextField()),
                ('signature', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='changes', to='shadow.signature')),
            ],
        ),
    ]
