"""Admin pages of accounts and projects: who sees what (S7), and that no secret is on any of them (S13)."""

import threading
from typing import Any

import pytest
from allauth.idp.oidc.models import Client as OAuthClient
from allauth.idp.oidc.models import Token
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import ROLE_ADMIN, ROLE_MODERATOR, ROLE_SUPPORT, FamilyToken, TokenFamily, User
from accounts.services.oauth_clients import create_client
from accounts.services.tokens import issue_login_tokens
from projects.models import ApiKey, EndUser, IdempotencyRecord, IdentityProvider, Membership, Project, Role
from projects.services.identity_providers import put_identity_provider
from projects.services.members import remove_member
from projects.services.projects import delete_project
from tests.builders import (
    PASSWORD,
    create_developer,
    make_project,
    server_key,
    signed_in,
    unique_email,
    waits_for_a_lock,
    waits_for_the_other,
)
from tests.live import wait_until

SECRET = "canary-hs256-secret-of-thirty-two-bytes-and-more"
PROJECT_MODELS = [Project, Membership, ApiKey, IdentityProvider, EndUser, IdempotencyRecord]
ACCOUNT_MODELS = [User, TokenFamily, FamilyToken, OAuthClient, Token]


def browser(user: User) -> Client:
    """Sign a user in to the admin."""
    client = Client()
    client.force_login(user)
    return client


def listing(model: Any) -> str:
    """Return the address of a model's list."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page(row: Any) -> str:
    """Return the address of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def furnish(owner: User) -> dict[Any, Any]:
    """Make a project with one row of every kind; return the rows by model."""
    project = make_project(owner, name=f"Acme of {owner.pk.hex}")
    put_identity_provider(
        project=project,
        fields={
            "kind": "hs256",
            "issuer": "https://idp.example",
            "audience": f"aud-{project.pk}",
            "hs256_secret": SECRET,
        },
    )
    key, server = server_key(project)
    server.post(
        f"/api/v1/projects/{project.pk}/end-user-tokens",
        {"user_id": f"user-of-{project.pk}"},
        Idempotency_Key=f"key-{project.pk}",
    )
    return {
        Project: project,
        Membership: project.memberships.get(),
        ApiKey: key,
        IdentityProvider: project.identity_provider,
        EndUser: project.end_users.get(),
        IdempotencyRecord: IdempotencyRecord.objects.for_project(project).get(),
    }


@pytest.mark.parametrize("model", PROJECT_MODELS)
def test_a_developer_sees_only_rows_of_their_own_projects(model: Any) -> None:
    alice, charlie = create_developer("alice", is_staff=True), create_developer("charlie", is_staff=True)
    mine, theirs = furnish(alice), furnish(charlie)
    client = browser(alice)
    rows = client.get(listing(model))
    assert rows.status_code == 200
    assert [row.pk for row in rows.context["cl"].queryset] == [mine[model].pk]
    assert client.get(page(mine[model])).status_code == 200
    for address in (
        page(theirs[model]),
        page(theirs[model]).replace("/change/", "/history/"),
        page(theirs[model]).replace("/change/", "/delete/"),
    ):
        assert client.get(address).status_code in (302, 403, 404)
    found = client.get(listing(model), {"q": str(theirs[Project].pk)[:8]})
    assert [row.pk for row in found.context["cl"].queryset if row.pk == theirs[model].pk] == []


@pytest.mark.parametrize("model", ACCOUNT_MODELS)
def test_a_developer_sees_no_accounts(model: Any) -> None:
    alice = create_developer("alice", is_staff=True)
    assert browser(alice).get(listing(model)).status_code == 403


def test_whom_a_row_names_is_a_link_for_those_alone_who_may_open_it() -> None:
    owner = create_developer(is_staff=True)
    project = make_project(owner)
    row = Membership.objects.for_project(project).get()
    address = reverse("admin:projects_membership_change", args=[row.pk])
    link = reverse("admin:accounts_user_change", args=[owner.pk])
    told = browser(owner).get(address).content.decode()
    assert owner.email in told and link not in told
    assert reverse("admin:projects_project_change", args=[project.pk]) in told
    assert link in browser(User.objects.create_superuser(unique_email(), PASSWORD)).get(address).content.decode()


def test_a_developer_without_the_admin_sees_nothing() -> None:
    alice = create_developer("alice")
    furnish(alice)
    assert browser(alice).get(listing(Project)).status_code == 302


def test_support_reads_every_project_and_changes_none() -> None:
    support = create_developer("support", is_staff=True)
    support.groups.add(Group.objects.get(name=ROLE_SUPPORT))
    rows = furnish(create_developer())
    client = browser(support)
    for row in rows.values():
        assert client.get(page(row)).status_code == 200
    answer = client.post(page(rows[EndUser]), {"is_active": ""})
    assert answer.status_code == 403
    rows[EndUser].refresh_from_db()
    assert rows[EndUser].is_active


def test_a_superuser_opens_every_page_and_no_secret_is_on_any() -> None:
    owner = create_developer()
    rows = furnish(owner)
    pair = issue_login_tokens(user=owner)
    client_row, secret = create_client(
        owner=owner, name="App", client_type="confidential", redirect_uris=[], grant_types=None
    )
    root = User.objects.create_superuser(unique_email("root"), PASSWORD)
    client = browser(root)
    html = ""
    accounts = [owner, TokenFamily.objects.get(user=owner), client_row, Token.objects.filter(user=owner)[0]]
    for row in [*rows.values(), *accounts]:
        for address in (listing(type(row)), page(row)):
            answer = client.get(address)
            assert answer.status_code == 200, address
            html += answer.content.decode()
    assert client.get(listing(FamilyToken)).status_code == 200
    provider = IdentityProvider.objects.get(pk=rows[IdentityProvider].pk)
    for hidden in (
        SECRET,
        provider.hs256_secret_encrypted,
        pair.access_token,
        pair.refresh_token,
        secret,
        client_row.secret,
        owner.password,
        rows[ApiKey].key_hash,
    ):
        assert hidden and hidden not in html


@pytest.mark.parametrize(
    "query",
    [
        "key_hash__startswith=a",
        "project__stripe_config__id=1",
        "hs256_secret_encrypted__startswith=v1",
        "project__memberships__user__password__startswith=p",
    ],
)
def test_filters_by_address_do_not_tell_secrets(query: str) -> None:
    alice = create_developer("alice", is_staff=True)
    furnish(alice)
    root = User.objects.create_superuser(unique_email("root"), PASSWORD)
    for user in (alice, root):
        for model in (ApiKey, IdentityProvider):
            answer = browser(user).get(f"{listing(model)}?{query}")
            assert answer.status_code in (302, 400, 403)
    assert browser(root).get(f"{listing(User)}?password__startswith=p").status_code in (302, 400, 403)


def test_a_blank_secret_keeps_the_stored_one_and_a_new_one_replaces_it() -> None:
    alice = create_developer("alice", is_staff=True)
    provider = furnish(alice)[IdentityProvider]
    form = {
        "kind": "hs256",
        "issuer": "https://new.example",
        "audience": "a",
        "user_id_claim": "sub",
        "email_claim": "email",
        "is_active": "on",
    }
    client = browser(alice)
    assert client.post(page(provider), {**form, "hs256_secret": ""}).status_code == 302
    provider.refresh_from_db()
    assert (provider.issuer, provider.hs256_secret()) == ("https://new.example", SECRET)
    client.post(page(provider), {**form, "hs256_secret": "n" * 40})
    provider.refresh_from_db()
    assert provider.hs256_secret() == "n" * 40
    short = client.post(page(provider), {**form, "hs256_secret": "short"})
    assert (short.status_code, b"at least 32 bytes" in short.content) == (200, True)


def test_a_developer_adds_a_provider_only_to_their_own_project() -> None:
    alice, charlie = create_developer("alice", is_staff=True), create_developer("charlie")
    mine, theirs = make_project(alice), make_project(charlie)
    form = {
        "kind": "hs256",
        "issuer": "https://idp.example",
        "audience": "a",
        "user_id_claim": "sub",
        "email_claim": "email",
        "is_active": "on",
        "hs256_secret": SECRET,
    }
    client, address = browser(alice), reverse("admin:projects_identityprovider_add")
    refused = client.post(address, {**form, "project": str(theirs.pk)})
    assert refused.status_code == 200
    assert not IdentityProvider.objects.for_project(theirs).exists()
    assert client.post(address, {**form, "project": str(mine.pk)}).status_code == 302
    assert IdentityProvider.objects.for_project(mine).get().hs256_secret() == SECRET


def test_a_viewer_may_look_and_not_change() -> None:
    owner, viewer = create_developer(), create_developer("viewer", is_staff=True)
    rows = furnish(owner)
    Membership.objects.create(project=rows[Project], user=viewer, role=Role.VIEWER)
    client = browser(viewer)
    for model in (Project, ApiKey, EndUser, IdentityProvider):
        assert client.get(page(rows[model])).status_code == 200
        assert client.post(page(rows[model]), {"name": "Stolen", "is_active": ""}).status_code == 403
    rows[Project].refresh_from_db()
    assert rows[Project].name.startswith("Acme")


def test_a_ban_is_never_a_tick_in_a_form() -> None:
    """It needs a reason: tests/admin/test_people.py."""
    alice = create_developer("alice", is_staff=True)
    end_user = furnish(alice)[EndUser]
    assert browser(alice).post(page(end_user), {}).status_code == 403
    end_user.refresh_from_db()
    assert end_user.is_active and end_user.banned_at is None


def test_staff_who_may_change_users_cannot_raise_themselves() -> None:
    from django.contrib.auth.models import Permission

    helper = create_developer("helper", is_staff=True)
    helper.user_permissions.add(*Permission.objects.filter(codename__in=["change_user", "view_user"]))
    root = User.objects.create_superuser(unique_email("root"), PASSWORD)
    client = browser(User.objects.get(pk=helper.pk))
    client.post(page(helper), {"email": helper.email, "full_name": "H", "is_active": "on", "is_superuser": "on"})
    helper.refresh_from_db()
    assert (helper.is_superuser, helper.full_name) == (False, "H")
    assert client.post(page(root), {"email": root.email, "is_active": ""}).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[root.pk])).status_code == 403


def test_guessing_at_the_admins_own_sign_in_is_stopped_too() -> None:
    root = User.objects.create_superuser(unique_email("root"), PASSWORD)
    client, address = Client(), reverse("admin:login")
    for number in range(11):
        client.post(address, {"username": root.email, "password": f"guess-{number}"})
    refused = client.post(address, {"username": root.email, "password": PASSWORD})
    assert (refused.status_code, refused.wsgi_request.user.is_authenticated) == (200, False)
    other = User.objects.create_superuser(unique_email("root"), PASSWORD)
    assert client.post(address, {"username": other.email, "password": PASSWORD}).status_code == 302


def test_an_api_token_is_not_a_session() -> None:
    root = User.objects.create_superuser(unique_email("root"), PASSWORD)
    answer = signed_in(root).get(listing(Project))
    assert (answer.status_code, answer["Location"].startswith("/admin/login/")) == (302, True)


def test_a_key_that_was_switched_off_stays_off() -> None:
    alice = create_developer("alice", is_staff=True)
    key, client = furnish(alice)[ApiKey], browser(alice)
    assert client.post(page(key), {"name": "Server"}).status_code == 302
    key.refresh_from_db()
    assert not key.is_active
    assert client.post(page(key), {"name": "Renamed", "is_active": "on"}).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.is_active) == ("Renamed", False)


def test_addresses_of_a_project_are_on_its_origins_in_the_admin_too() -> None:
    """S30: the hosted pages lead to them."""
    alice = create_developer("alice", is_staff=True)
    project, client = furnish(alice)[Project], browser(alice)
    form = {"name": "Acme", "slug": project.slug, "allowed_origins": '["https://app.example"]', "is_active": "on"}
    for wrong in ("javascript:alert(1)", "https://evil.example/", "https://app.example@evil.example/"):
        refused = client.post(page(project), form | {"default_return_url": wrong})
        assert refused.status_code == 200 and "not on one of the project" in refused.content.decode(), wrong
    assert client.post(page(project), form | {"default_return_url": "https://app.example/back"}).status_code == 302
    project.refresh_from_db()
    assert project.default_return_url == "https://app.example/back"


def test_a_project_keeps_an_owner_whoever_changes_its_members_or_leaves() -> None:
    root, owner = User.objects.create_superuser(unique_email("root"), PASSWORD), create_developer()
    member = furnish(owner)[Membership]
    client = browser(root)
    listed = reverse("admin:projects_membership_changelist")
    refused = client.post(page(member), {"role": "viewer"})
    assert refused.status_code == 200 and "last owner" in refused.content.decode()
    delete = page(member).replace("/change/", "/delete/")
    assert client.get(delete).status_code == 403
    assert client.post(delete, {"post": "yes"}).status_code == 403
    client.post(listed, {"action": "delete_selected", "_selected_action": [str(member.pk)], "post": "yes"})
    assert client.post(page(owner).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    assert Membership.objects.get(pk=member.pk).role == Role.OWNER
    Membership.objects.create(project=member.project, user=create_developer(), role=Role.OWNER)
    assert client.post(page(member), {"role": "viewer"}).status_code == 302
    assert Membership.objects.get(pk=member.pk).role == Role.VIEWER
    assert client.post(delete, {"post": "yes"}).status_code == 302
    assert not Membership.objects.filter(pk=member.pk).exists()


def test_of_two_owners_who_are_removed_at_once_one_stays() -> None:
    root, owner = User.objects.create_superuser(unique_email("root"), PASSWORD), create_developer()
    project = make_project(owner)
    first = Membership.objects.for_project(project).get()
    second = Membership.objects.create(project=project, user=create_developer(), role=Role.OWNER)
    delete = page(second).replace("/change/", "/delete/")
    statuses: list[int] = []

    def remove_second() -> None:
        statuses.append(browser(root).post(delete, {"post": "yes"}).status_code)
        connection.close()

    other = threading.Thread(target=remove_second)
    with transaction.atomic():
        remove_member(project=project, user_id=owner.pk)
        # To the other both are owners yet; it has to wait for the project.
        other.start()
        wait_until(lambda: statuses or waits_for_a_lock("projects_project"), seconds=20, what="the other waits")
        assert statuses == []
    other.join(20)
    assert statuses == [403]
    assert [row.pk for row in Membership.objects.for_project(project)] == [second.pk]
    assert not Membership.objects.filter(pk=first.pk).exists()


def test_the_role_admin_makes_a_project_and_names_its_owner_and_nobody_else_makes_one() -> None:
    staff: dict[str, Client] = {}
    for role in (ROLE_ADMIN, ROLE_MODERATOR, ROLE_SUPPORT):
        person = create_developer(role.lower(), is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        staff[role] = browser(person)
    alice = create_developer("alice", is_staff=True)
    form = {
        "name": "Made here",
        "slug": f"made-{alice.pk.hex[:12]}",
        "allowed_origins": '["https://app.example"]',
        "is_active": "on",
    }
    add = reverse("admin:projects_project_add")
    for other in (staff[ROLE_MODERATOR], staff[ROLE_SUPPORT], browser(alice)):
        assert (other.get(add).status_code, other.post(add, form).status_code) == (403, 403)
    refused = staff[ROLE_ADMIN].post(add, form | {"slug": "No-Slug"})
    assert refused.status_code == 200 and "Use 1 to 63 lower-case letters" in refused.content.decode()
    assert not Project.objects.filter(name="Made here").exists()
    assert staff[ROLE_ADMIN].post(add, form).status_code == 302
    project = Project.objects.get(slug=form["slug"])
    member = {"project": str(project.pk), "user": str(alice.pk), "role": "owner"}
    assert staff[ROLE_ADMIN].post(reverse("admin:projects_membership_add"), member).status_code == 302
    assert browser(alice).get(page(project)).status_code == 200
    assert [row.role for row in Membership.objects.for_project(project)] == [Role.OWNER]


def test_a_projects_form_undoes_neither_a_deletion_nor_another_change_that_came_first() -> None:
    owner = create_developer("alice", is_staff=True)
    project = make_project(owner)
    client = browser(owner)
    form = {"name": "New", "slug": project.slug, "allowed_origins": "[]", "is_active": "on"}

    def describe() -> None:
        Project.objects.filter(pk=project.pk).update(description="Theirs")

    answer = waits_for_the_other(describe, lambda: client.post(page(project), form), table="projects_project")
    project.refresh_from_db()
    assert (answer.status_code, project.name, project.description) == (302, "New", "Theirs")
    late = form | {"name": "Back", "description": "Theirs"}
    answer = waits_for_the_other(
        lambda: delete_project(project=Project.objects.get(pk=project.pk)),
        lambda: client.post(page(project), late),
        table="projects_project",
    )
    project.refresh_from_db()
    assert (answer.status_code, project.deleted_at is None, project.is_active, project.name) == (
        403,
        False,
        False,
        "New",
    )
