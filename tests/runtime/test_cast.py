"""The cast is what it says."""

from projects.models import Membership, Project
from tests.cast import AppServer, AppUser, Developer, set_role


def test_alice_owns_acme_and_bob_is_a_member(alice: Developer, bob: Developer, acme: Project) -> None:
    roles = dict(Membership.objects.for_project(acme).values_list("user__email", "role"))
    assert roles == {alice.user.email: "owner", bob.user.email: "developer"}
    set_role(acme, bob, "viewer")
    assert Membership.objects.for_project(acme).get(user=bob.user).role == "viewer"


def test_charlie_owns_the_other_project_only(charlie: Developer, acme: Project, other_project: Project) -> None:
    assert list(Project.objects.for_user(charlie.user)) == [other_project]


def test_app_users_belong_to_their_project(
    dana: AppUser, erin: AppUser, frank: AppUser, acme: Project, other_project: Project, acme_server: AppServer
) -> None:
    assert dana.end_user.project == acme == erin.end_user.project
    assert frank.end_user.project == other_project
    assert acme_server.key.startswith("ak_")
    assert dana.access_token not in repr(dana)
