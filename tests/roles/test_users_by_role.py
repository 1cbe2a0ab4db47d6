"""Users and keys: the role Admin appoints people and cannot raise anybody above itself; the other roles only look."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from accounts.models import User
from projects.models import ApiKey
from tests.cast import create_developer
from tests.roles.conftest import World


def page(row: Any, name: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{name}", args=[row.pk])


def sent(user: User, **more: Any) -> dict[str, Any]:
    return {"email": user.email, "full_name": "Changed", "is_active": "on"} | more


def test_the_role_admin_appoints_others_but_no_superuser_and_not_itself(world: World) -> None:
    someone, root = create_developer("someone").user, world["root"].user
    admin = world["admin"]
    support, theirs = Group.objects.get(name="Support"), Group.objects.create(name=f"of-{someone.pk}")
    right = Permission.objects.get(codename="refund_without_limit")
    rights = {"is_superuser": "on", "user_permissions": [str(right.pk)]}
    answer = admin.client.post(page(someone), sent(someone, is_staff="on", groups=[str(support.pk)], **rights))
    assert answer.status_code == 302
    someone.refresh_from_db()
    assert (someone.is_staff, someone.is_superuser, [*someone.groups.all()]) == (True, False, [support])
    assert not someone.user_permissions.exists()
    # A group that a superuser made besides is not the role's to give.
    refused = admin.client.post(page(someone), sent(someone, is_staff="on", groups=[str(theirs.pk)]))
    assert refused.status_code == 200 and [*someone.groups.all()] == [support]
    before = [*admin.user.groups.all()]
    assert admin.client.post(page(admin.user), sent(admin.user, groups=[], is_superuser="on")).status_code == 302
    admin.user.refresh_from_db()
    assert (admin.user.is_staff, admin.user.is_superuser, [*admin.user.groups.all()]) == (True, False, before)
    for answer in (
        admin.client.post(page(root), sent(root, is_active="")),
        admin.client.post(page(root, "delete"), {"post": "yes"}),
        admin.client.post(page(admin.user, "delete"), {"post": "yes"}),
        admin.client.get(reverse("admin:auth_user_password_change", args=[root.pk])),
        admin.client.post(page(support), {"name": "Support", "permissions": [str(right.pk)]}),
    ):
        assert answer.status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(root.pk), str(admin.user.pk)], "post": "yes"}
    admin.client.post(reverse("admin:accounts_user_changelist"), chosen)
    root.refresh_from_db()
    admin.user.refresh_from_db()
    assert root.is_active and not support.permissions.filter(pk=right.pk).exists()


def test_moderators_and_support_look_at_users_and_keys_and_change_neither(world: World) -> None:
    someone = create_developer("someone").user
    key = world.acme.rows[ApiKey]
    for name in ("moderator", "support"):
        client = world[name].client
        assert client.get(page(someone)).status_code == client.get(page(key)).status_code == 200
        assert client.post(page(someone), sent(someone, is_staff="on")).status_code == 403
        assert client.post(page(key), {"name": "x"}).status_code == 403
        for row in (someone, key):
            assert client.post(page(row, "delete"), {"post": "yes"}).status_code == 403
        for model in ("accounts_user", "payments_stripeconfig", "projects_apikey"):
            assert client.get(reverse(f"admin:{model}_add")).status_code == 403
        assert client.get(reverse("admin:auth_user_password_change", args=[someone.pk])).status_code == 403
    someone.refresh_from_db()
    key.refresh_from_db()
    assert (someone.full_name, someone.is_staff, key.is_active) == ("someone", False, True)


def test_no_filter_by_address_tells_a_password_letter_by_letter(world: World) -> None:
    """S7, S36: a lookup goes to what the page offers, and not on from there to those of the same role."""
    boss, client = world["admin"].user, world["support"].client
    listed = reverse("admin:accounts_user_changelist")
    assert page(boss) in client.get(listed, {"groups__id__exact": boss.groups.get().pk}).content.decode()
    for lookup in ("password__startswith", "groups__user__password__startswith", "groups__user__email__startswith"):
        for beginning in (getattr(boss, "email" if "email" in lookup else "password")[:12], "zzz"):
            answer = client.get(listed, {lookup: beginning})
            assert answer.status_code == 400 or "e=1" in answer["Location"], (lookup, answer.status_code)
