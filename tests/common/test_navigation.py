"""The admin's side menu names only what the viewer may open, and everything that is registered can be reached."""

from django.contrib import admin
from django.test import RequestFactory

from backoffice.navigation import GROUPS, sidebar
from projects.models import Project
from tests.cast import Developer, create_developer


def titles(user: object) -> set[str]:
    request = RequestFactory().get("/admin/")
    request.user = user  # type: ignore[assignment]
    return {item["link"] for group in sidebar(request) for item in group["items"]}


def test_every_entry_names_a_registered_page() -> None:
    from django.apps import apps

    labels = [label for _, _, entries in GROUPS for label, _, _ in entries]
    assert [label for label in labels if apps.get_model(label) not in admin.site._registry] == []


def test_a_superuser_sees_every_entry() -> None:
    admin_user = create_developer("root", is_staff=True, is_superuser=True).user
    assert len(titles(admin_user)) == 1 + sum(len(entries) for _, _, entries in GROUPS)


def test_a_developer_sees_no_page_of_users_or_roles(acme: Project, alice: Developer) -> None:
    alice.user.is_staff = True
    alice.user.save()
    seen = titles(alice.user)
    assert "/admin/projects/project/" in seen
    assert not {link for link in seen if link.startswith(("/admin/accounts/", "/admin/auth/", "/admin/auditlog/"))}
