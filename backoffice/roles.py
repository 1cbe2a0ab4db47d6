"""What the three staff roles may do (docs/back-office.md). Granted by migrations; a new right or table needs another one.

Invariant: granting only adds, so that what an operator gave, or a later release, is never lost by running it again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.models import ROLE_ADMIN, ROLE_MODERATOR, ROLE_SUPPORT

OURS = frozenset(settings.OUR_APPS)
# Not our tables: the mirror is looked at by all, how people sign in and who changed what by the role Admin alone. Nobody but a
# superuser gives a right to a role.
LOOKED_AT = frozenset({"djstripe"})
ADMIN_BESIDES = frozenset(
    {
        "auditlog.view_logentry", "auth.view_group", "allauth_idp_oidc.view_client", "allauth_idp_oidc.view_token",
        "allauth_idp_oidc.delete_token", "account.view_emailaddress",
    }
)  # fmt: skip
ADMIN_ALONE = frozenset({"accounts.view_tokenfamily", "accounts.view_familytoken"})

SUPPORT_RIGHTS = frozenset(
    {
        "payments.read_from_stripe",
        "notifications.resend_mail",
        "licenses.resend_license_mail",
        "licenses.reinvite_license",
    }
)
# Money within limits. A replay may carry out a refund that somebody else asked for, which is why support has none.
MODERATOR_RIGHTS = SUPPORT_RIGHTS | {
    "payments.refund_transaction",
    "payments.cancel_subscription",
    "payments.comp_subscription",
    "payments.replay_webhookevent",
    "entitlements.adjust_creditwallet",
    "entitlements.give_plan",
    "licenses.act_on_license",
    "notifications.replay_outboxrow",
    "notifications.replay_webhookdelivery",
    "notifications.switch_webhookendpoint",
    "moderation.decide_reviewitem",
    "projects.ban_enduser",
}
SPECIAL_RIGHTS: Mapping[str, frozenset[str]] = {ROLE_MODERATOR: MODERATOR_RIGHTS, ROLE_SUPPORT: SUPPORT_RIGHTS}


@dataclass(frozen=True)
class Right:
    """One permission of Django's."""

    app_label: str
    model: str
    codename: str
    name: str

    @property
    def key(self) -> str:
        """What `has_perm` is asked for."""
        return f"{self.app_label}.{self.codename}"


def rights_of_roles(models: Iterable[Any]) -> dict[str, list[Right]]:
    """Return what each role may do with these tables."""
    known = [right for model in models for right in _rights(model)]
    theirs = [right for right in known if right.app_label in OURS]
    shared = [right for right in known if right.app_label in LOOKED_AT and right.codename.startswith("view_")]
    views = [right for right in theirs if right.codename.startswith("view_") and right.key not in ADMIN_ALONE]
    found = {ROLE_ADMIN: [*theirs, *shared, *(right for right in known if right.key in ADMIN_BESIDES)]}
    for role, special in SPECIAL_RIGHTS.items():
        found[role] = [*views, *shared, *(right for right in theirs if right.key in special)]
    return found


def grant_roles(apps: Any, schema_editor: Any = None) -> None:
    """Give each role what it may do with the tables that there are; run again, it gives what is missing."""
    content_types = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    for role, rights in rights_of_roles(apps.get_models()).items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=role)
        rows = []
        # Permissions are made after all migrations otherwise, which is too late for a migration to give one.
        for right in rights:
            content_type, _ = content_types.get_or_create(app_label=right.app_label, model=right.model)
            rows.append(
                permissions.get_or_create(
                    content_type=content_type, codename=right.codename, defaults={"name": right.name[:255]}
                )[0]
            )
        group.permissions.add(*rows)


def _rights(model: Any) -> list[Right]:
    options = model._meta
    usual = [
        (f"{action}_{options.model_name}", f"Can {action} {options.verbose_name_raw}")
        for action in options.default_permissions
    ]
    named = [*usual, *options.permissions]
    return [Right(options.app_label, options.model_name, codename, name) for codename, name in named]
