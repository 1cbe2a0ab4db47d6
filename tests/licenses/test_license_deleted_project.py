"""Licences whose project is deleted or switched off: nobody is let in any more, and who had to go still goes (F42, S8)."""

import datetime as dt

from common import clock
from licenses.models import License, LicenseSeat
from licenses.services.metrics import put_stuck_before_staff
from licenses.services.support import invite_by_staff
from moderation.models import ReviewItem
from projects.models import Project
from projects.services.projects import delete_project
from tests.licenses.licensing import LONG_AGO, LicenseShop, work_off


def test_a_deleted_projects_licences_come_to_rest(seller: LicenseShop) -> None:
    (inside, _), (waiting, _), (asked, _) = (seller.org.person() for _ in range(3))
    refunded, invited, named = seller.buy().active(inside), seller.buy().invited(waiting), seller.buy()
    refunded.refund()
    named.submit(asked)
    License.objects.filter(pk=invited.license.pk).update(first_invited_at=clock.now() - dt.timedelta(days=8))
    before = len(seller.org.requests())
    delete_project(project=seller.project)
    seller.work()
    invitation = seller.effects(kind="github_invite").last()
    assert (invitation.status, named.license.state) == ("skipped", "username_submitted")
    # Whoever had lost the licence by then is taken out all the same; whoever has it stays.
    assert seller.org.members() == [] and refunded.license.state == "revoked"
    assert not any(asked in line or "PUT" in line for line in seller.org.requests()[before:])
    seller.org.answer(waiting)
    before = len(seller.org.requests())
    assert seller.poll() == 0 and len(seller.org.requests()) == before
    assert invited.license.state == "invited" and seller.org.members() == [waiting]
    put_stuck_before_staff()
    assert not ReviewItem.objects.for_project(seller.project).filter(kind="stuck_license").exists()
    assert LicenseSeat.objects.for_project(seller.project).filter(next_check_at=LONG_AGO).count() == 1
    # Its page and links are gone, as every other door of the project.
    assert [invited.page().status_code, invited.call("GET", "status").status_code] == [401, 401]


def test_while_a_project_is_switched_off_its_licences_wait(seller: LicenseShop) -> None:
    (waiting, _), (asked, _), (inside, _) = (seller.org.person() for _ in range(3))
    invited, named, has = seller.buy().invited(waiting), seller.buy(), seller.buy().active(inside)
    named.submit(asked)
    invite_by_staff(row=has.license, reason="Lost the page", actor=seller.project.memberships.get(role="owner").user)
    seller.org.answer(waiting)
    before = len(seller.org.requests())
    switched = Project.objects.filter(pk=seller.project.pk)
    switched.update(is_active=False)
    rows = [work_off(row) for row in seller.effects(kind="github_invite", status="pending")]
    assert [(row.status, row.wait_reason, row.attempts) for row in rows] == [("pending", "project_off", 0)] * 2
    assert seller.poll() == 0 and len(seller.org.requests()) == before
    switched.update(is_active=True)
    for row in rows:
        assert work_off(row).status == "done"
    assert seller.poll() == 1 and (invited.license.state, named.license.state) == ("active", "invited")
