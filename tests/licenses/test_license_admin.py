"""Licences in the admin: who sees and acts on them, after a confirmation, with a reason, in the action log."""

import re
import uuid
from typing import Any

from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import ROLE_MODERATOR, ROLE_SUPPORT, User
from licenses.models import License, LicenseProduct, LicenseProductPrice
from moderation.models import ActionLog
from notifications.models import OutboxRow
from projects.models import Project, Role
from tests.admin.test_credit_pack_pages import sign_in
from tests.licenses.licensing import license_in_hand
from tests.payments.actors import create_project

LIST = "admin:licenses_license_changelist"


def staff(role: str) -> Client:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    user.groups.add(Group.objects.get_or_create(name=role)[0])
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def act(client: Client, row: License, deed: str, **form: Any) -> Any:
    path = reverse("admin:licenses_license_act", args=[row.pk])
    sent = {"deed": deed, "reason": "The buyer asked", "confirmed": "yes"} | form
    return client.post(path, {name: value for name, value in sent.items() if value})


def state(row: License) -> str:
    return License.objects.get(pk=row.pk).state


def logged(project: Project) -> list[str]:
    rows = ActionLog.objects.for_project(project).filter(action__startswith="license.")
    return list(rows.order_by("at").values_list("action", flat=True))


def figures_on(page: Any) -> dict[str, str]:
    """Read what stands above the list."""
    assert page.status_code == 200
    return dict(re.findall(r"<dt[^>]*>([^<]+)</dt><dd[^>]*>([^<]+)</dd>", page.content.decode()))


def test_staff_act_after_a_confirmation_and_every_deed_is_logged() -> None:
    project = create_project()
    row, moderator = license_in_hand(project), staff(ROLE_MODERATOR)
    asked = act(moderator, row, "revoke", confirmed="")
    assert asked.status_code == 200 and b"Yes, do it" in asked.content and state(row) == "invited"
    assert act(moderator, row, "revoke", reason="").status_code == 200 and state(row) == "invited"
    assert act(moderator, row, "resend_mail").status_code == 302
    assert act(moderator, row, "invite_again").status_code == 302
    assert act(moderator, row, "change_username", github_username="octocat").status_code == 302
    assert act(moderator, row, "change_username").status_code == 200
    assert act(moderator, row, "change_username", github_username="../x").status_code == 200
    assert act(moderator, row, "revoke").status_code == 302 and state(row) == "revoked"
    assert act(moderator, row, "resend_mail").status_code == 200, "nothing is mailed about a revoked licence"
    assert act(moderator, row, "restore").status_code == 302 and state(row) == "pending"
    assert logged(project) == [
        "license.resend_mail", "license.invite_again", "license.change_username", "license.revoke", "license.restore",
    ]  # fmt: skip
    log = ActionLog.objects.for_project(project).get(action="license.revoke")
    assert (log.reason, log.subject) == ("The buyer asked", str(row.pk)) and log.actor is not None
    mails = OutboxRow.objects.for_project(project).filter(kind="license_mail")
    templates = sorted(one.payload["template"] for one in mails)
    assert templates == ["license_revoked", "license_welcome"], "its invitation has expired"


def test_support_sends_mails_and_invitations_again_and_does_nothing_else() -> None:
    project = create_project()
    row, support = license_in_hand(project), staff(ROLE_SUPPORT)
    assert act(support, row, "resend_mail").status_code == 302
    for deed in ("revoke", "change_username"):
        assert act(support, row, deed, github_username="octocat").status_code == 200, "no such choice"
    assert state(row) == "invited" and act(support, row, "invite_again").status_code == 302
    assert logged(project) == ["license.resend_mail", "license.invite_again"]


def test_developers_act_on_their_own_projects_licences_and_viewers_do_not() -> None:
    project = create_project()
    row = license_in_hand(project)
    stranger, viewer, developer = (
        sign_in(create_project("Other"), Role.OWNER), sign_in(project, Role.VIEWER), sign_in(project, Role.DEVELOPER),
    )  # fmt: skip
    assert act(stranger, row, "revoke").status_code == 302 and act(viewer, row, "revoke").status_code == 403
    assert state(row) == "invited" and logged(project) == []
    assert row.email not in stranger.get(reverse(LIST)).content.decode()
    shown = developer.get(reverse(LIST), {"stuck": "yes"})
    assert figures_on(shown) == {
        "Mode": "Test", "Sold": "1", "Active": "0", "Revoked": "0", "Invited → active": "0%", "Time to accept": "–",
        "No username for 24 h": "0", "Not invited for 24 h": "0", "Invited 7 days ago": "0",
    }  # fmt: skip
    page = developer.get(reverse("admin:licenses_license_change", args=[row.pk])).content.decode()
    assert row.email in page and "mona" in page
    assert act(developer, row, "revoke").status_code == 302 and state(row) == "revoked"


def test_a_developer_makes_a_product_with_its_prices() -> None:
    project = create_project()
    client = sign_in(project, Role.DEVELOPER)
    sent = {
        "project": str(project.pk), "code": "kit", "name": "Kit", "active": "on", "activation_limit": "3",
        "prices-TOTAL_FORMS": 1, "prices-INITIAL_FORMS": 0, "prices-0-mode": "test", "prices-0-amount_cents": "4900",
        "prices-0-currency": "USD", "prices-0-active": "on",
    }  # fmt: skip
    made = client.post(reverse("admin:licenses_licenseproduct_add"), sent)
    assert made.status_code == 302, made.content[:3000]
    product = LicenseProduct.objects.for_project(project).get()
    price = LicenseProductPrice.objects.for_project(project).get()
    assert (price.product, price.currency, product.activation_limit) == (product, "usd", 3)
    again = client.post(reverse("admin:licenses_licenseproduct_add"), sent)
    assert again.status_code == 200 and b"Another product" in again.content
    for bad in ({"prices-0-currency": "u$"}, {"prices-0-amount_cents": "0"}, {"activation_limit": "0"}):
        answer = client.post(reverse("admin:licenses_licenseproduct_add"), sent | {"code": "other"} | bad)
        assert answer.status_code == 200, bad
    assert LicenseProduct.objects.for_project(project).count() == 1
