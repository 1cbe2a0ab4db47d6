"""Licences whose project is deleted: nobody is invited or asked about any more, and who had to go still goes (F42, S8)."""

import datetime as dt

from common import clock
from licenses.models import License, LicenseSeat
from licenses.services.metrics import put_stuck_before_staff
from moderation.models import ReviewItem
from projects.services.projects import delete_project
from tests.licenses.licensing import LONG_AGO, LicenseShop


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
