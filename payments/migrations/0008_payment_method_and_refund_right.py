"""How a payment was made, and the right to refund it: the roles Admin and Moderator have it, Support has not."""

from typing import Any

from django.db import migrations, models


def grant(apps: Any, schema_editor: Any) -> None:
    # Permissions are made after all migrations otherwise, which is too late to give one to a group here.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="payments", model="transaction"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename="refund_transaction", defaults={"name": "Can refund payments"}
    )
    for group in apps.get_model("auth", "Group").objects.filter(name__in=["Admin", "Moderator"]):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0007_inbox_indexes_of_failures"),
        ("accounts", "0002_roles_and_first_party_client"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="transaction",
            options={"permissions": [("refund_transaction", "Can refund payments")]},
        ),
        migrations.AddField(
            model_name="transaction",
            name="method_type",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AddField(
            model_name="transaction",
            name="method_brand",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AddField(
            model_name="transaction",
            name="method_last4",
            field=models.CharField(blank=True, db_default="", default="", max_length=4),
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
