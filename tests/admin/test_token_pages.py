"""The admin's page about token budgets: looked at by who may, changed by nobody."""

from django.utils import timezone

from entitlements.models import TokenPeriod
from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in, url
from tests.payments.actors import create_project
from tests.payments.rows import create_end_user


def create_period(project: Project) -> TokenPeriod:
    period: TokenPeriod = TokenPeriod.objects.create(
        project=project, mode="test", end_user=create_end_user(project), key="free:2026-11", limit_tokens=1_000_000,
        starts_at=timezone.now(),
    )  # fmt: skip
    for era in ("one", "two"):
        period.uses.create(project=project, mode="test", era=era, used_tokens=1500, journalled_at=timezone.now())
    return period


def test_budgets_are_looked_at_by_members_and_staff_and_changed_by_nobody() -> None:
    mine, other = create_project("Acme"), create_project("Other")
    period, theirs = create_period(mine), create_period(other)
    listed = sign_in(project=mine, role=Role.VIEWER).get(url(TokenPeriod, "changelist")).content.decode()
    assert "1,000,000" in listed and "3,000" in listed
    assert f"/{period.pk}/change/" in listed and f"/{theirs.pk}/change/" not in listed
    assert sign_in(group="Support").get(url(TokenPeriod, "changelist") + "?q=free").status_code == 200
    owner, root = sign_in(project=mine, role=Role.OWNER), sign_in(superuser=True)
    assert owner.get(url(TokenPeriod, "change", theirs.pk)).status_code in (302, 403)
    for client in (owner, root):
        assert client.get(url(TokenPeriod, "change", period.pk)).status_code == 200
        assert client.post(url(TokenPeriod, "change", period.pk), {"limit_tokens": 9}).status_code == 403
        assert client.post(url(TokenPeriod, "delete", period.pk), {"post": "yes"}).status_code == 403
    period.refresh_from_db()
    assert period.limit_tokens == 1_000_000
