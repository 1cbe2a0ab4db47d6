"""The admin's page about what end users hold: looked at by who may, changed by nobody."""

from entitlements.models import Entitlement
from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in, url
from tests.payments.actors import create_project
from tests.payments.rows import create_end_user, create_plan, create_subscription


def create_entitlement(project: Project) -> Entitlement:
    user = create_end_user(project)
    create_subscription(project, end_user=user, plan=create_plan(project, name="Maker"))
    return Entitlement.objects.for_project(project).get(end_user=user)


def test_entitlements_are_looked_at_by_members_and_staff_and_changed_by_nobody() -> None:
    mine, other = create_project("Acme"), create_project("Other")
    row, theirs = create_entitlement(mine), create_entitlement(other)
    listed = sign_in(project=mine, role=Role.VIEWER).get(url(Entitlement, "changelist")).content.decode()
    assert f"/{row.pk}/change/" in listed and f"/{theirs.pk}/change/" not in listed and "Maker" in listed
    found = sign_in(group="Support").get(url(Entitlement, "changelist") + f"?q={row.subscription_id}")
    assert found.status_code == 200 and str(row.pk) in found.content.decode()
    owner, root = sign_in(project=mine, role=Role.OWNER), sign_in(superuser=True)
    assert owner.get(url(Entitlement, "change", theirs.pk)).status_code in (302, 403)
    for client in (owner, root):
        assert client.get(url(Entitlement, "change", row.pk)).status_code == 200
        assert client.post(url(Entitlement, "change", row.pk), {"active": ""}).status_code == 403
        assert client.post(url(Entitlement, "delete", row.pk), {"post": "yes"}).status_code == 403
    row.refresh_from_db()
    assert row.active
