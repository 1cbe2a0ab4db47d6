"""What keeps a connection to GitHub from working is told once, and one odd answer keeps nobody else waiting."""

import datetime as dt

from common import clock
from licenses.models import GitHubConnection, LicenseSeat
from licenses.services.github import GitHub
from licenses.services.polling import poll_invitations
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from tests.licenses.licensing import LONG_AGO, LicenseShop, create_product, work_off

PUT = "PUT /orgs/*/teams/*/memberships/*"


def problem(seller: LicenseShop) -> str:
    return GitHubConnection.objects.for_project(seller.project).get().problem


def told(seller: LicenseShop) -> tuple[int, int]:
    """Count what staff and owners were told about the connection."""
    items = ReviewItem.objects.for_project(seller.project).filter(cause_key__startswith="github:")
    alerts = OutboxRow.objects.for_project(seller.project).filter(effect_key__startswith="alert:github:")
    return items.count(), alerts.count()


def invitation(seller: LicenseShop) -> OutboxRow:
    """Have somebody wait for an invitation."""
    seller.buy().submit(seller.org.person()[0])
    row: OutboxRow = seller.effects(kind="github_invite").last()
    return row


def test_a_permission_that_is_missing_is_told_once_however_often_it_is_met(seller: LicenseShop) -> None:
    row = invitation(seller)
    seller.org.fault(PUT, "status:403", times=3)
    for _ in range(3):
        assert work_off(row).wait_reason == "github_connection"
        # Looking people up went well each time, which says nothing about inviting them.
        assert (problem(seller), told(seller)) == ("not_permitted", (1, 1))
    GitHub(seller.project, "test").list_invitations()
    assert problem(seller) == "not_permitted", "seeing who is invited proves no right to invite"
    seller.org.fault("GET /user/*", "status:500")
    work_off(row)
    assert problem(seller) == "not_permitted", "a silence does not hide what somebody has to mend"
    assert work_off(row).status == "done" and problem(seller) == ""
    # A team that works beside one that does not makes it come and go.
    again = invitation(seller)
    seller.org.fault(PUT, "status:403", times=2)
    work_off(again)
    assert (problem(seller), told(seller)) == ("not_permitted", (1, 1))
    # After a day owners hear of it anew; staff still have the item before them.
    yesterday = clock.now() - dt.timedelta(hours=25)
    GitHubConnection.objects.for_project(seller.project).update(problem="", updated_at=yesterday - dt.timedelta(days=1))
    OutboxRow.objects.for_project(seller.project).filter(kind="alert").update(created_at=yesterday)
    ReviewItem.objects.for_project(seller.project).update(created_at=yesterday)
    work_off(again)
    assert told(seller) == (1, 2)
    # What was decided a day ago and begins again is before them again; a connection that was saved since is another one.
    ReviewItem.objects.for_project(seller.project).update(status="dismissed")
    GitHubConnection.objects.for_project(seller.project).update(problem="", updated_at=clock.now())
    seller.org.fault(PUT, "status:403")
    work_off(again)
    assert told(seller) == (2, 3)
    assert work_off(again).status == "done" and problem(seller) == ""


def test_one_odd_account_keeps_no_other_waiting(seller: LicenseShop) -> None:
    (odd, number), (other, _) = seller.org.person(), seller.org.person()
    first, second = seller.buy().invited(odd), seller.buy().invited(other)
    for login in (odd, other):
        seller.org.answer(login)
    seller.org.fault(f"GET /user/{number}", "list")
    seats = LicenseSeat.objects.for_project(seller.project)
    seats.update(next_check_at=LONG_AGO)
    seats.filter(github_user_id=number).update(next_check_at=LONG_AGO - dt.timedelta(days=1))
    assert poll_invitations() == 1
    assert (first.license.state, second.license.state) == ("invited", "active")
    later = seats.get(github_user_id=number).next_check_at
    assert later and later > clock.now(), "that one is asked about later"
    assert seller.poll() == 1 and first.license.state == "active"


def test_github_that_asks_to_wait_is_asked_nothing_more_for_that_project(seller: LicenseShop) -> None:
    seller.org.add_team("beta")
    create_product(seller.project, "beta", team_slug="beta")
    people = [seller.org.person()[0] for _ in range(2)]
    for login, product in zip(people, ("kit", "beta"), strict=True):
        seller.buy(product).invited(login)
        seller.org.answer(login)
    before = len(seller.org.requests())
    seller.org.fault("GET /user/*", "refuse:429")
    assert seller.poll() == 0
    asked = seller.org.requests()[before:]
    assert [line.split("/")[1] for line in asked] == ["orgs", "user"], asked
    due = LicenseSeat.objects.for_project(seller.project).values_list("next_check_at", flat=True)
    assert all(moment and moment - clock.now() > dt.timedelta(seconds=30) for moment in due)
    assert seller.poll() == 2
