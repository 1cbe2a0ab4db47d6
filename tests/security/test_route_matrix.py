"""Every method of every route refuses every caller that it is not for: kind of token, project, role."""

import json
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from projects.models import Project
from tests.cast import AppServer, AppUser, Developer, add_member, create_developer
from tests.security.matrix import FUNCTION_VIEWS, ROWS, Row, routes

# Which kinds of caller an audience is.
CALLERS = {
    "developer": ["developer"],
    "end_user": ["end_user"],
    "server": ["server"],
    "end_user_or_server": ["end_user", "server"],
    # A signed link is nobody's token.
    "license_holder": [],
}
PROTECTED = sorted((key for key, row in ROWS.items() if row.audience in CALLERS), key=str)
IN_A_PROJECT = sorted(key for key in PROTECTED if ROWS[key].project_in_path)
WITH_A_ROLE = sorted(
    key for key in IN_A_PROJECT if ROWS[key].audience == "developer" and ROWS[key].min_role != "viewer"
)
# Rows that a caller's own authentication may write: when a key or user was last seen.
SEEN = {"projects_apikey", "projects_enduser"}


def address(path: str, row: Row, project: Project) -> str:
    values = {"project_id": str(project.pk), "app": project.slug, **row.path}
    return "/" + path.format(**values)


def call(headers: dict[str, str], method: str, url: str, body: dict[str, Any]) -> Any:
    client = Client(headers=headers, raise_request_exception=False)
    if method == "GET":
        return client.get(url)
    return client.generic(method, url, data=json.dumps(body), content_type="application/json")


def fingerprint() -> dict[str, tuple[int, int]]:
    """Count rows and the newest writer of each table of ours: any insert, update or delete shows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename ~ %s",
            ["^(accounts|projects|payments|hosted|entitlements|licenses|moderation|notifications)_"],
        )
        tables = [row[0] for row in cursor.fetchall() if row[0] not in SEEN]
        union = " UNION ALL ".join(
            f"SELECT '{table}', count(*), coalesce(max(xmin::text::bigint), 0) FROM {table}" for table in tables
        )
        cursor.execute(union)
        return {name: (count, newest) for name, count, newest in cursor.fetchall()}


@pytest.mark.no_db
def test_every_route_has_a_row_and_every_row_a_route() -> None:
    known = set(routes())
    missing = sorted(known - set(ROWS))
    stale = sorted(set(ROWS) - known)
    assert (missing, stale) == ([], []), "give each new route a row that says who may call it"


@pytest.mark.parametrize("path", sorted(FUNCTION_VIEWS))
def test_a_function_view_refuses_every_other_method(path: str, acme: Project) -> None:
    url = "/" + path.format(project_id=acme.pk, mode="test")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        if method not in FUNCTION_VIEWS[path]:
            assert call({}, method, url, {}).status_code == 405, method


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_no_token_of_another_kind_passes(
    method: str, path: str, acme: Project, alice: Developer, dana: AppUser, acme_server: AppServer
) -> None:
    """S6: an end user's token at what developers and servers call, and the reverse."""
    row = ROWS[method, path]
    callers = {"developer": alice.headers, "end_user": dana.headers, "server": acme_server.headers}
    for kind in CALLERS[row.audience]:
        del callers[kind]
    wrong = {
        "nobody": {},
        "garbage": {"Authorization": "Bearer garbage"},
        "basic": {"Authorization": "Basic YTpi"},
        "empty": {"Authorization": "Bearer "},
        **callers,
    }
    before = fingerprint()
    for name, headers in wrong.items():
        answer = call(headers, method, address(path, row, acme), row.body)
        assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.content[:200]!r}"
        assert answer["WWW-Authenticate"].startswith("Bearer"), name
        assert set(answer.json()) >= {"detail", "code"}, name
    assert fingerprint() == before


@pytest.mark.parametrize(("method", "path"), IN_A_PROJECT)
def test_another_projects_path_answers_like_one_that_does_not_exist(
    method: str, path: str, acme: Project, charlie: Developer, other_server: AppServer
) -> None:
    row = ROWS[method, path]
    headers = charlie.headers if row.audience == "developer" else other_server.headers
    nowhere = Project(pk=uuid.uuid4(), slug="nowhere")
    before = fingerprint()
    theirs = call(headers, method, address(path, row, acme), row.body)
    unknown = call(headers, method, address(path, row, nowhere), row.body)
    assert theirs.status_code == 404, theirs.content[:200]
    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert fingerprint() == before


@pytest.mark.parametrize("path", ["checkout/{app}", "portal/{app}", "status/{app}/{user_id}"])
def test_another_projects_slug_answers_like_one_that_does_not_exist(
    path: str, acme: Project, other_server: AppServer
) -> None:
    method = "GET" if path.startswith("status") else "POST"
    row = ROWS[method, path]
    before = fingerprint()
    theirs = call(other_server.headers, method, address(path, row, acme), row.body)
    unknown = call(other_server.headers, method, address(path, row, Project(slug="nowhere-at-all")), row.body)
    assert theirs.status_code == 404
    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert fingerprint() == before


@pytest.mark.parametrize(("method", "path"), WITH_A_ROLE)
def test_a_member_with_too_low_a_role_is_told_so(method: str, path: str, acme: Project) -> None:
    row = ROWS[method, path]
    roles = {"developer": ["viewer"], "owner": ["viewer", "developer"]}[row.min_role]
    for role in roles:
        member = create_developer(role)
        add_member(acme, member, role)
        before = fingerprint()
        answer = call(member.headers, method, address(path, row, acme), row.body)
        assert answer.status_code == 403, f"{role}: {answer.status_code} {answer.content[:200]!r}"
        assert answer.json()["code"] == "role_too_low"
        assert fingerprint() == before


@pytest.mark.parametrize(("method", "path"), IN_A_PROJECT)
def test_a_removed_member_is_refused_on_the_next_request(method: str, path: str, acme: Project) -> None:
    row = ROWS[method, path]
    if row.audience != "developer":
        return
    member = create_developer("leaver")
    add_member(acme, member, "owner")
    acme.memberships.filter(user=member.user).delete()
    assert call(member.headers, method, address(path, row, acme), row.body).status_code == 404


def test_a_deactivated_developers_token_is_refused_on_the_next_request(alice: Developer, acme: Project) -> None:
    assert call(alice.headers, "GET", f"/api/v1/projects/{acme.pk}", {}).status_code == 200
    alice.user.is_active = False
    alice.user.save()
    assert call(alice.headers, "GET", f"/api/v1/projects/{acme.pk}", {}).status_code == 401


def test_a_revoked_servers_key_is_refused_on_the_next_request(acme: Project, acme_server: AppServer) -> None:
    url = f"/api/v1/projects/{acme.pk}/end-user-tokens"
    assert call(acme_server.headers, "POST", url, {"user_id": "u"}).status_code == 200
    acme.api_keys.update(is_active=False)
    assert call(acme_server.headers, "POST", url, {"user_id": "u"}).status_code == 401


def test_the_write_check_notices_a_write(acme: Project) -> None:
    before = fingerprint()
    Project.objects.filter(pk=acme.pk).update(name="Changed")
    assert fingerprint() != before
