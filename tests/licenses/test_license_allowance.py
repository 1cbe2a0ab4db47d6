"""How many people one licence may have invited: an organisation's few invitations a day are for all its buyers."""

import datetime as dt
from typing import Any

import pytest

from common import clock
from licenses.models import LicenseSeat
from licenses.services.support import change_username
from tests.cast import Developer
from tests.licenses.licensing import Holder, LicenseShop

DAY = dt.timedelta(days=1)


def seats(holder: Holder) -> Any:
    return LicenseSeat.objects.for_project(holder.at.project).filter(license=holder.license)


def replace(holder: Holder, login: str) -> Any:
    """Ask for another username as the page does, and have GitHub asked."""
    answer = holder.submit(login, replace=True, revision=holder.license.revision)
    holder.at.work()
    return answer


@pytest.fixture
def used_up(seller: LicenseShop) -> Holder:
    """A licence that has had three people invited today."""
    holder = seller.buy()
    for _ in range(3):
        assert replace(holder, seller.org.person()[0]).status_code == 200
    assert (holder.license.state, holder.license.revision) == ("invited", 3)
    return holder


def test_a_fourth_invitation_in_a_day_is_the_sellers_to_send(used_up: Holder, alice: Developer) -> None:
    org, (wanted, _) = used_up.at.org, used_up.at.org.person()
    before = (used_up.license.username, org.invited(), len(org.requests("PUT")))
    refused = replace(used_up, wanted)
    assert (refused.status_code, refused.json()["action"]) == (429, "contact_seller")
    assert "Ask the seller" in refused.json()["detail"]
    assert 23 * 3600 < int(refused.headers["Retry-After"]) <= 24 * 3600
    shown = used_up.press("submit", github_username=wanted, replace="yes", revision="3")
    assert shown.status_code == 429 and b"Ask the seller" in shown.content
    org.answer(used_up.license.username, accept=False)
    assert used_up.at.poll() == 1
    assert used_up.call("POST", "invite-again").status_code == 429, "the same person once more is one more invitation"
    used_up.at.work()
    assert (used_up.license.username, [], len(org.requests("PUT"))) == (before[0], org.invited(), before[2])
    change_username(row=used_up.license, username=wanted, reason="The buyer asked", actor=alice.user)
    used_up.at.work()
    assert org.invited() == [wanted], "staff are not bound by it"


def test_a_ninth_invitation_in_a_month_is_the_sellers_to_send(used_up: Holder) -> None:
    person = used_up.at.org.person
    seats(used_up).update(created_at=clock.now() - 2 * DAY)
    assert replace(used_up, person()[0]).status_code == 200
    seats(used_up).update(created_at=clock.now() - 2 * DAY)
    # A username that GitHub does not know costs no invitation.
    assert replace(used_up, "nobody-here-xyz").status_code == 200
    assert used_up.license.username_problem == "unknown_username" and seats(used_up).count() == 4
    seat = seats(used_up).first()
    for revision in range(90, 94):
        seat.pk, seat.revision, seat._state.adding = None, revision, True
        seat.save(force_insert=True)
    refused = used_up.submit(person()[0])
    assert refused.status_code == 429 and 27 * 86400 < int(refused.headers["Retry-After"]) <= 28 * 86400
    seats(used_up).filter(revision=1).update(created_at=clock.now() - 31 * DAY)
    assert replace(used_up, person()[0]).status_code == 200
