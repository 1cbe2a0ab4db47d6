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
    granted = rights_of_roles(apps.get_models())
    ids = _permissions(apps, [right for rights in granted.values() for right in rights])
    for role, rights in granted.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=role)
        group.permissions.add(*(ids[right] for right in rights))


def _permissions(apps: Any, rights: Iterable[Right]) -> dict[Right, int]:
    """Return the permissions' ids. They are made after all migrations otherwise, which is too late for a migration to give one."""
    content_type, permission = apps.get_model("contenttypes", "ContentType"), apps.get_model("auth", "Permission")
    rights = list(dict.fromkeys(rights))
    content_type.objects.bulk_create(
        [
            content_type(app_label=label, model=model)
            for label, model in sorted({(r.app_label, r.model) for r in rights})
        ],
        ignore_conflicts=True,
    )
    types = {(label, model): key for label, model, key in content_type.objects.values_list("app_label", "model", "pk")}
    permission.objects.bulk_create(
        [
            permission(content_type_id=types[r.app_label, r.model], codename=r.codename, name=r.name[:255])
            for r in rights
        ],
        ignore_conflicts=True,
    )
    known = {
        (of, codename): key for of, codename, key in permission.objects.values_list("content_type", "codename", "pk")
    }
    return {r: known[types[r.app_label, r.model], r.codename] for r in rights}


def _rights(model: Any) -> list[Right]:
    options = model._meta
    usual = [
        (f"{action}_{options.model_name}", f"Can {action} {options.verbose_name_raw}")
        for action in options.default_permissions
    ]
    named = [*usual, *options.permissions]
    return [Right(options.app_label, options.model_name, codename, name) for codename, name in named]
