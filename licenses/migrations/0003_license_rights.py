"""Who may act on licences: the roles Admin and Moderator revoke and change, Support sends mails again."""

from typing import Any

from django.db import migrations

RIGHTS = {
    "act_on_license": (
        "Can revoke licences, give them back and change who they let in",
        ["Admin", "Moderator"],
    ),
    "resend_license_mail": ("Can send the mails of a licence again", ["Admin", "Moderator", "Support"]),
}


def grant(apps: Any, schema_editor: Any) -> None:
    # Permissions are made after all migrations otherwise, which is too late to give one to a group here.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="licenses", model="license"
    )
    for codename, (name, roles) in RIGHTS.items():
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
        for group in apps.get_model("auth", "Group").objects.filter(name__in=roles):
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("licenses", "0002_licenses"),
        ("accounts", "0002_roles_and_first_party_client"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
