"""Whose place at GitHub is a licence's to take, whatever came before: of members, of ended invitations, of replays, of many."""

import datetime as dt
import uuid

import pytest

from common import clock
from licenses.models import License, LicenseSeat
from licenses.services import removals
from licenses.services.removals import sweep_unwanted_seats
from licenses.services.revoking import revoke_license
from notifications.models import OutboxRow
from notifications.services.running import replay_rows
from projects.models import Project
from tests.cast import Developer
from tests.github import TEAM
from tests.licenses.licensing import Holder, LicenseShop, license_in_hand, work_off

DAY = dt.timedelta(days=1)


def members(seller: LicenseShop) -> set[str]:
    """Name who belongs to the organisation, besides its owner."""
    return {member["login"] for member in seller.org.state()["members"]} - {seller.org.owner}


def seats(holder: Holder) -> list[LicenseSeat]:
    return list(LicenseSeat.objects.for_project(holder.at.project).filter(license=holder.license).order_by("revision"))


def active_at_once(seller: LicenseShop, login: str) -> Holder:
    """Have a licence of somebody who is in the organisation already."""
    holder = seller.buy()
    holder.submit(login)
    seller.work()
    assert holder.license.state == "active"
    return holder


def test_who_was_in_the_team_before_any_licence_keeps_the_team(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    seller.org.set_role(login, "member", TEAM)
    first, second = active_at_once(seller, login), active_at_once(seller, login)
    assert [seat.was_in_team for holder in (first, second) for seat in seats(holder)] == [True, True]
    for holder in (first, second):
        holder.refund()
        seller.work()
        assert holder.license.state == "revoked" and seats(holder)[0].removed_at is not None
    assert seller.org.members() == [login] and seller.org.requests("DELETE") == []
    assert {row.status for row in seller.effects(kind="github_remove")} == {"skipped"}


def test_who_lost_the_team_by_hand_and_bought_the_way_back_in_loses_it_with_the_licence(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    seller.org.set_role(login, "member", TEAM)
    first = active_at_once(seller, login)
    seller.org.set_role(login, None)
    second = seller.buy().active(login)
    assert [(seat.was_member, seat.was_in_team) for seat in seats(second)] == [(False, False)]
    for holder in (first, second):
        holder.refund()
        seller.work()
    assert seller.org.members() == [] and members(seller) == set()


def test_an_invitation_that_came_to_nothing_proves_no_membership(seller: LicenseShop) -> None:
    hired, declined, forgotten = (seller.org.person()[0] for _ in range(3))
    first, only, old = (seller.buy().invited(login) for login in (hired, declined, forgotten))
    for login in (hired, declined):
        seller.org.answer(login, accept=False)
    assert seller.poll() == 2
    assert {seats(one)[0].outcome for one in (first, only)} == {"ended"} and seats(old)[0].outcome == ""
    # An invitation of which nobody ever heard anything more has long expired.
    seller.org.answer(forgotten, accept=False)
    LicenseSeat.objects.for_project(seller.project).filter(license=old.license).update(asked_at=clock.now() - 9 * DAY)
    for login in (hired, declined, forgotten):
        seller.org.set_role(login, "member")
    later = [active_at_once(seller, login) for login in (hired, forgotten)]
    assert [seats(holder)[0].was_member for holder in later] == [True, True]
    for holder in (first, only, old, *later):
        holder.refund()
        seller.work()
    assert seller.org.members() == [] and members(seller) == {hired, declined, forgotten}


def test_an_invitation_that_is_open_and_was_accepted_a_moment_ago_makes_no_member_of_before(
    seller: LicenseShop,
) -> None:
    login, _ = seller.org.person()
    first = seller.buy().invited(login)
    seller.org.answer(login)
    second = active_at_once(seller, login)
    assert [(seat.was_member, seat.was_in_team) for seat in seats(second)] == [(False, False)]
    for holder in (first, second):
        holder.refund()
        seller.work()
    assert seller.org.members() == [] and members(seller) == set()


def replay(seller: LicenseShop, holder: Holder) -> OutboxRow:
    """Have staff replay a licence's invitation that was laid aside, and carry it out."""
    rows = seller.effects(kind="github_invite", payload__license=str(holder.license.pk))
    rows.update(status="dead")
    assert replay_rows(rows) == 1
    row = work_off(rows.get())
    seller.work()
    return row


def test_a_replay_reopens_only_a_seat_that_was_closed_while_the_invitation_may_have_been_on_its_way(
    seller: LicenseShop, alice: Developer
) -> None:
    late, properly = (seller.buy().invited(seller.org.person()[0]) for _ in range(2))
    # GitHub said no to this one, once and for all.
    refused = seller.buy()
    refused.submit(seller.org.person()[0])
    seller.org.fault("PUT *", "status:422")
    seller.work("github_invite")
    assert seats(refused)[0].outcome == "ended"
    for holder in (late, properly, refused):
        revoke_license(row=holder.license, reason="A mistake", actor=alice.user)
    seller.work()
    given_up = seats(refused)[0].removed_at
    closed = seats(properly)[0].removed_at
    assert closed is not None and seller.org.invited() == []
    LicenseSeat.objects.for_project(seller.project).filter(license=properly.license).update(asked_at=closed - DAY)
    # The one invitation arrived after its removal; the other person was let in by hand since.
    for holder in (late, properly, refused):
        seller.org.set_role(holder.license.username, "member", TEAM)
    assert [replay(seller, holder).status for holder in (late, properly, refused)] == ["skipped"] * 3
    assert (seats(properly)[0].removed_at, seats(refused)[0].removed_at) == (closed, given_up)
    assert sorted(seller.org.members()) == sorted([properly.license.username, refused.license.username])


def lose_seats(project: Project, number: int) -> list[LicenseSeat]:
    """Have people in whom no licence wants and whose removal nobody recorded."""
    made = []
    for _ in range(number):
        row = license_in_hand(project)
        License.objects.for_project(project).filter(pk=row.pk).update(
            state="revoked", revoked_at=clock.now(), revoked_because="staff"
        )
        made.append(
            LicenseSeat.objects.create(
                project=project, mode="test", license=row, revision=1, github_user_id=1, login=uuid.uuid4().hex,
                organization="acme", team_slug=TEAM,
            )
        )  # fmt: skip
    return made


def test_one_projects_lost_removals_hide_nobody_elses(
    acme: Project, other_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    while sweep_unwanted_seats():
        pass
    many, (one,) = lose_seats(acme, 4), lose_seats(other_project, 1)
    monkeypatch.setattr(removals, "SWEPT_AT_ONCE", 2)

    def recorded() -> list[str]:
        rows = OutboxRow.objects.filter(project__in=[acme, other_project], kind="github_remove")
        return list(rows.order_by("created_at", "id").values_list("payload__login", flat=True))

    assert sweep_unwanted_seats() == 2 and recorded() == [many[0].login, one.login]
    # What waits already takes up no room; neither does what came to nothing today.
    OutboxRow.objects.for_project(acme).update(status="dead")
    assert sweep_unwanted_seats() == 2 and recorded()[2:] == [many[1].login, many[2].login]
    assert [sweep_unwanted_seats(), sweep_unwanted_seats()] == [1, 0] and len(recorded()) == 5
