"""/api/v1/projects/{id}/members."""

import threading
import uuid

import pytest
from django.db import connection

from projects.models import Membership, Role
from tests.builders import create_developer, join, make_project, run_all, signed_in, unique_email


def path_of(project_id: uuid.UUID) -> str:
    return f"/api/v1/projects/{project_id}/members"


def test_an_owner_adds_changes_and_removes_members() -> None:
    owner, bob = create_developer("alice"), create_developer("bob")
    project = make_project(owner)
    api, path = signed_in(owner), path_of(project.pk)
    added = api.post(path, {"email": bob.email.upper(), "role": "viewer"})
    assert added.status_code == 201
    assert (added.json()["user_id"], added.json()["role"]) == (str(bob.pk), "viewer")
    assert api.put(f"{path}/{bob.pk}", {"role": "developer"}).json()["role"] == "developer"
    assert {row["email"] for row in signed_in(bob).get(path).json()["members"]} == {owner.email, bob.email}
    assert api.delete(f"{path}/{bob.pk}").status_code == 204
    assert signed_in(bob).get(path).status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEVELOPER])
def test_others_may_read_and_leave_but_not_manage(role: Role) -> None:
    owner = create_developer()
    project = make_project(owner)
    member = join(project, role)
    api, path = signed_in(member), path_of(project.pk)
    assert api.get(path).json()["total"] == 2
    assert api.post(path, {"email": unique_email(), "role": "owner"}).status_code == 403
    assert api.put(f"{path}/{member.pk}", {"role": "owner"}).status_code == 403
    assert api.delete(f"{path}/{owner.pk}").status_code == 403
    assert Membership.objects.for_project(project).get(user=member).role == role
    assert api.delete(f"{path}/{member.pk}").status_code == 204


def test_a_stranger_gets_404() -> None:
    project = make_project(create_developer())
    stranger = create_developer()
    api = signed_in(stranger)
    answers = [
        api.get(path_of(project.pk)),
        api.post(path_of(project.pk), {"email": stranger.email, "role": "owner"}),
        api.put(f"{path_of(project.pk)}/{stranger.pk}", {"role": "owner"}),
        api.delete(f"{path_of(project.pk)}/{stranger.pk}"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert not Membership.objects.for_project(project).filter(user=stranger).exists()


def test_the_last_owner_stays() -> None:
    owner = create_developer()
    project = make_project(owner)
    api, path = signed_in(owner), f"{path_of(project.pk)}/{owner.pk}"
    assert api.delete(path).json()["code"] == "last_owner"
    assert api.put(path, {"role": "viewer"}).status_code == 409
    join(project, Role.OWNER)
    assert api.delete(path).status_code == 204


def test_two_owners_who_leave_at_once_do_not_leave_it_ownerless() -> None:
    owners = [create_developer("a"), create_developer("b")]
    project = make_project(owners[0])
    Membership.objects.create(project=project, user=owners[1], role=Role.OWNER)
    barrier = threading.Barrier(2)
    codes: list[int] = []

    def leave(index: int) -> None:
        api = signed_in(owners[index])
        barrier.wait()
        codes.append(api.delete(f"{path_of(project.pk)}/{owners[index].pk}").status_code)
        connection.close()

    threads = [threading.Thread(target=leave, args=(index,)) for index in range(2)]
    run_all(threads)
    assert sorted(codes) == [204, 409]
    assert Membership.objects.for_project(project).filter(role=Role.OWNER).count() == 1


def test_bad_requests_say_what_is_wrong() -> None:
    owner = create_developer()
    project = make_project(owner)
    api, path = signed_in(owner), path_of(project.pk)
    assert api.post(path, {"email": unique_email()}).json()["code"] == "user_not_found"
    assert api.post(path, {"email": owner.email}).json()["code"] == "already_member"
    assert api.post(path, {"email": owner.email, "role": "god"}).json()["detail"][0]["loc"] == ["body", "role"]
    assert api.put(f"{path}/{uuid.uuid4()}", {"role": "owner"}).json()["code"] == "member_not_found"
