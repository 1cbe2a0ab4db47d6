"""What a buyer asks on the licence's page: whether they are in by now, for another name, and for the link that got lost."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client

from common import clock
from licenses.models import License, LicenseSeat
from licenses.services.github import GitHub, clean_username
from licenses.services.polling import check_soon, poll_invitations
from notifications.models import OutboxRow
from tests.licenses.licensing import PAGE, Holder, LicenseShop


@pytest.fixture
def invited(seller: LicenseShop) -> Holder:
    return seller.buy().invited(seller.org.person()[0])


def seat_of(holder: Holder) -> Any:
    return LicenseSeat.objects.for_project(holder.at.project).filter(license=holder.license)


def page(holder: Holder) -> str:
    return str(holder.page().content.decode())


# Works


def test_who_says_that_they_have_accepted_is_asked_about_whenever_the_next_look_is_due(invited: Holder) -> None:
    for due in (-3600, -1, 5, 30, 3600):
        before = clock.now() - dt.timedelta(seconds=6)
        seat_of(invited).update(next_check_at=clock.now() + dt.timedelta(seconds=due), check_asked_at=before)
        assert check_soon(invited.license) is True, due
        assert seat_of(invited).get().next_check_at <= clock.now()
        assert check_soon(invited.license) is False, "it was asked for just now"


def test_the_page_tells_what_came_of_asking_and_goes_on_by_itself(invited: Holder) -> None:
    before = page(invited)
    assert 'http-equiv="refresh" content="20;' in before and "not accepted yet" not in before
    pressed = invited.press("check")
    assert pressed.status_code == 303 and pressed["Location"].endswith(invited.token)
    asked = page(invited)
    assert "GitHub is being asked" in asked and 'content="4;' in asked
    seat_of(invited).update(check_asked_at=clock.now() - dt.timedelta(minutes=2))
    slow = page(invited)
    assert "GitHub has not answered yet" in slow and 'content="20;' in slow
    assert poll_invitations() == 0
    answered, seat = page(invited), seat_of(invited).get()
    assert f"has not accepted yet (asked at {seat.checked_at:%H:%M:%S} UTC)" in answered and 'content="20;' in answered
    seller = invited.at
    seller.org.answer(invited.license.username)
    assert invited.press("check").status_code == 303 and poll_invitations() == 1
    assert "Access granted" in page(invited)


def test_an_open_invitation_is_asked_about_each_minute(invited: Holder) -> None:
    assert invited.at.poll() == 0
    seat = seat_of(invited).get()
    assert seat.next_check_at - seat.checked_at < dt.timedelta(seconds=60), "the second round from now would miss it"


@pytest.mark.parametrize(
    "typed", ["{0}", "@{0}", "github.com/{0}", "https://github.com/{0}/", "HTTP://www.GitHub.com/{0}"]
)
def test_the_address_of_a_profile_is_a_username(typed: str) -> None:
    assert clean_username(f" {typed.format('octo-cat')} ") == "octo-cat"


@pytest.mark.parametrize(
    "typed", ["https://github.com/", "github.com/a/b", "https://gitlab.com/a", "github.com/a?tab=x"]
)
def test_another_address_is_none(typed: str) -> None:
    assert clean_username(typed) is None


def test_nobody_is_told_to_close_the_page_before_github_knows_the_name(seller: LicenseShop) -> None:
    holder = seller.buy()
    holder.submit("nobody-here-xyz")
    assert "Keep this page open" in page(holder) and "You can close this page" not in page(holder)
    License.objects.filter(pk=holder.license.pk).update(github_user_id=1)
    assert "You can close this page" in page(holder)


def test_the_other_tab_may_still_have_its_own_name(invited: Holder) -> None:
    first, second = invited.license.username, invited.at.org.person()[0]
    told = invited.press("submit", github_username=f"github.com/{second}", revision="0")
    text = told.content.decode()
    assert told.status_code == 409 and f"{first} was given" in text and f"Use {second} instead" in text
    assert f'name="revision" value="{invited.license.revision}"' in text and f'value="{second}"' in text
    done = invited.press("submit", github_username=second, replace="yes", revision=str(invited.license.revision))
    assert done.status_code == 303 and invited.license.username == second
    assert "instead</button>" not in page(invited)


def test_after_a_refusal_the_address_is_still_the_whole_one(seller: LicenseShop) -> None:
    holder = seller.buy()
    refused = holder.press("submit", github_username="a b")
    assert refused.status_code == 422
    for text in (page(holder), refused.content.decode()):
        assert text.count(f'action="{PAGE}?session={holder.session_id}&amp;token={holder.token}"') == text.count(
            "<form"
        )


# Refuses


def ask_for_link(number: int, session_id: str) -> Any:
    visitor = Client(REMOTE_ADDR=f"2001:db8:{number:x}::1")
    return visitor.post(PAGE, {"session": session_id, "action": "link"})


def test_without_the_token_a_new_link_goes_to_the_buyer_and_nothing_is_told(invited: Holder) -> None:
    rows = OutboxRow.objects.for_project(invited.at.project).filter(kind="license_mail", payload__asked_for=True)
    bare = invited.page(token="")
    text = bare.content.decode()
    assert bare.status_code == 401 and "Send me a new link" in text
    assert "Nothing" not in text and "to yourself" not in text and "lat_" not in text and "Acme" not in text
    number = invited.at.project.pk.int % 0xFFF0
    answers = [ask_for_link(number, invited.session_id) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429] and rows.count() == 3
    assert {row.payload["to"] for row in rows} == {invited.license.email}
    for strange in ("cs_test_nothing", "x" * 300, "a\x00b", ""):
        told = ask_for_link(number + 1, strange)
        assert told.status_code == 200 and b"lat_" not in told.content
        assert not strange or (b"on its way" in told.content) == (b"on its way" in answers[0].content)
    assert "Nothing was charged" in ask_for_link(number + 1, "").content.decode()
    assert rows.count() == 3


# Race


def test_who_asks_while_a_round_is_under_way_is_asked_about_anew(
    invited: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GitHub.list_invitations

    def pressed_meanwhile(self: GitHub) -> Any:
        found = real(self)
        # A round asks about whatever is due, other tests' too.
        if self.connection.project_id == invited.at.project.pk:
            assert check_soon(invited.license) is True
        return found

    with monkeypatch.context() as patch:
        patch.setattr(GitHub, "list_invitations", pressed_meanwhile)
        assert invited.at.poll() == 0
    seat = seat_of(invited).get()
    assert seat.next_check_at <= clock.now() and "GitHub is being asked" in page(invited)
    assert poll_invitations() == 0 and "has not accepted yet" in page(invited)
