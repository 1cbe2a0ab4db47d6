"""Whoever belonged to the organisation before a licence belongs to it after: only the team is the licence's."""

import uuid

from common import clock
from licenses.models import GitHubConnection, License, LicenseProduct, LicenseProductPrice, LicenseSeat
from licenses.services.revoking import revoke_license
from licenses.services.usernames import submit_username
from notifications.models import OutboxRow
from projects.models import Project
from tests.cast import Developer
from tests.github import TEAM
from tests.licenses.licensing import LicenseShop, create_product, work_off


def names(seller: LicenseShop) -> set[str]:
    """Name who belongs to the organisation, besides its owner."""
    return {member["login"] for member in seller.org.state()["members"]} - {seller.org.owner}


def test_a_colleague_who_loses_the_licence_stays_in_the_organisation(seller: LicenseShop) -> None:
    colleague, buyer = (seller.org.person()[0] for _ in range(2))
    seller.org.set_role(colleague, "member")
    first = seller.buy()
    first.submit(colleague)
    seller.work()
    assert first.license.state == "active" and seller.org.members() == [colleague]
    second = seller.buy().active(buyer)
    # A second licence of the same person does not make them a member of before.
    third = seller.buy()
    third.submit(buyer)
    seller.work()
    assert [seat.was_member for seat in LicenseSeat.objects.for_project(seller.project).order_by("created_at")] == [
        True, False, False,
    ]  # fmt: skip
    for holder in (first, second, third):
        holder.refund()
        seller.work()
    assert seller.org.members() == [] and names(seller) == {colleague}


def test_the_end_of_a_test_licence_takes_nothing_from_a_live_one(seller: LicenseShop) -> None:
    login, number = seller.org.person()
    holder = seller.buy().active(login)
    row = holder.license
    LicenseProductPrice.objects.create(project=seller.project, product=row.product, mode="live", amount_cents=4900)
    live = GitHubConnection(project=seller.project, mode="live", organization=seller.org.login, team_slug=TEAM)
    live.set_token(seller.org.token)
    live.save()
    row.pk, row.mode, row.stripe_session_id, row.payment_intent_id = None, "live", "cs_live_1", "pi_live_1"
    row._state.adding = True
    row.save(force_insert=True)
    LicenseSeat.objects.create(
        project=seller.project, mode="live", license=row, revision=row.revision, github_user_id=number, login=login,
        organization=seller.org.login, team_slug=TEAM,
    )  # fmt: skip
    holder.refund()
    seller.work()
    assert holder.license.state == "revoked" and seller.org.members() == [login]


def share(seller: LicenseShop, project: Project, *, team: str = TEAM) -> None:
    """Connect another project to the seller's organisation, in a team."""
    row = GitHubConnection(project=project, mode="test", organization=seller.org.login, team_slug=team)
    row.set_token(seller.org.token)
    row.save()
    create_product(project)


def sold(project: Project) -> License:
    """Have a licence of a project that shares the organisation, paid for and without a username yet."""
    return License.objects.create(
        project=project, mode="test", product=LicenseProduct.objects.for_project(project).get(), email="buyer@example.com",
        stripe_session_id=f"cs_test_{uuid.uuid4().hex}", amount_cents=4900, currency="usd", purchased_at=clock.now(),
    )  # fmt: skip


def carry_out(project: Project) -> list[str]:
    """Carry out what a project's licences wait for at GitHub; returns how each ended."""
    waiting = OutboxRow.objects.for_project(project).filter(status="pending", kind__startswith="github_")
    return [work_off(row).status for row in waiting.order_by("created_at", "id")]


def test_who_paid_another_project_for_the_same_team_stays(
    seller: LicenseShop, other_project: Project, charlie: Developer
) -> None:
    login, _ = seller.org.person()
    share(seller, other_project)
    mine, theirs = seller.buy().active(login), sold(other_project)
    submit_username(project_id=other_project.pk, license_id=theirs.pk, username=login)
    assert carry_out(other_project) == ["done"]
    theirs.refresh_from_db()
    # Whom the first project's licence let in is no member of before to the second one.
    seat = LicenseSeat.objects.for_project(other_project).get()
    assert (theirs.state, seat.was_member) == ("active", False)
    mine.refund()
    seller.work()
    assert mine.license.state == "revoked" and seller.org.members() == [login]
    assert LicenseSeat.objects.for_project(seller.project).get().removed_at is not None
    revoke_license(row=theirs, reason="A mistake", actor=charlie.user)
    assert carry_out(other_project) == ["done"]
    assert seller.org.members() == [] and names(seller) == set()


def test_naming_a_member_of_another_project_keeps_nobody_in(seller: LicenseShop, other_project: Project) -> None:
    login, number = seller.org.person()
    mine = seller.buy().active(login)
    create_product(other_project)
    theirs = sold(other_project)
    submit_username(project_id=other_project.pk, license_id=theirs.pk, username=login)
    # As a project without a token of that organisation can have it: a seat was written, GitHub let nobody in.
    LicenseSeat.objects.create(
        project=other_project, mode="test", license=theirs, revision=1, github_user_id=number, login=login,
        organization=seller.org.login, team_slug=TEAM,
    )  # fmt: skip
    mine.refund()
    seller.work()
    assert seller.org.members() == [] and names(seller) == set()


def test_an_invitation_that_went_with_another_projects_is_sent_anew(
    seller: LicenseShop, other_project: Project
) -> None:
    login, _ = seller.org.person()
    seller.org.add_team("beta")
    share(seller, other_project, team="beta")
    mine, theirs = seller.buy().invited(login), sold(other_project)
    submit_username(project_id=other_project.pk, license_id=theirs.pk, username=login)
    carry_out(other_project)
    mine.refund()
    seller.work()
    assert carry_out(other_project) == ["done"]
    theirs.refresh_from_db()
    assert (theirs.state, theirs.revision, seller.org.invited()) == ("invited", 2, [login])
    seller.org.answer(login)
    assert (seller.org.members("beta"), seller.org.members()) == ([login], [])
    # Nobody polls for it here, and no other test shall find it due.
    LicenseSeat.objects.for_project(other_project).update(next_check_at=None)
