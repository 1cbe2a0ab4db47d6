"""What the roles Admin, Moderator and Support may do."""

from django.db import migrations

from backoffice.roles import grant_roles


class Migration(migrations.Migration):
    dependencies = [
        ("backoffice", "0001_exports"),
        ("accounts", "0002_roles_and_first_party_client"),
        ("projects", "0004_backoffice_reads"),
        ("notifications", "0008_dead_effects"),
        ("moderation", "0008_action_log_of_actor"),
        ("entitlements", "0027_backoffice_reads"),
        ("licenses", "0011_backoffice_reads"),
        ("payments", "0017_newest_first"),
        ("hosted", "0001_hosted_pages"),
        ("account", "0001_initial"),
        ("allauth_idp_oidc", "0003_client_allow_uri_wildcards"),
        ("auditlog", "0001_initial"),
        ("djstripe", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(grant_roles, migrations.RunPython.noop)]
