"""The right to adjust credits by hand: the roles Admin and Moderator have it, Support has not."""

from typing import Any

from django.db import migrations


def grant(apps: Any, schema_editor: Any) -> None:
    # Permissions are made after all migrations otherwise, which is too late to give one to a group here.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="entitlements", model="creditwallet"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename="adjust_creditwallet", defaults={"name": "Can adjust credits"}
    )
    for group in apps.get_model("auth", "Group").objects.filter(name__in=["Admin", "Moderator"]):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("entitlements", "0013_credit_operations"),
        ("accounts", "0002_roles_and_first_party_client"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="creditwallet",
            options={"permissions": [("adjust_creditwallet", "Can adjust credits")], "verbose_name": "Credit wallet"},
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
