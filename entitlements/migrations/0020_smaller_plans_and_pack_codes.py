import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0019_connection_spend_settled")]

    operations = [
        migrations.AddField(
            model_name="creditpack",
            name="allow_promotion_codes",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="creditpack",
            name="credits",
            field=models.PositiveIntegerField(validators=[django.core.validators.MaxValueValidator(1000000000)]),
        ),
        migrations.AddField(
            model_name="tokenperiod",
            name="plan",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="entitlements.plan"
            ),
        ),
    ]
