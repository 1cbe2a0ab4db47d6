"""A licence that waits: what its page says, who may try again, who is stuck, and that nobody loses what they have meanwhile."""

import datetime as dt

from django.core import mail

from common import clock
from licenses.models import GitHubConnection, License
from licenses.services.metrics import license_metrics, put_stuck_before_staff
from licenses.services.revoking import restore_license, revoke_license
from licenses.services.support import invite_by_staff, resend_link
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from tests.cast import Developer
from tests.licenses.licensing import Holder, LicenseShop, work_off

LONG = dt.timedelta(days=30)


def text(holder: Holder) -> str:
    return str(holder.page().content.decode())


def invitations(seller: LicenseShop) -> list[OutboxRow]:
    return list(seller.effects(kind="github_invite"))


def mend(seller: LicenseShop) -> None:
    """Save a token that works, as the seller does."""
    connection = GitHubConnection.objects.for_project(seller.project).get()
    connection.set_token(seller.org.new_token())
    connection.save()


def age(holder: Holder, **by: dt.timedelta) -> None:
    """Move stamps of a licence back."""
    row = holder.license
    License.objects.filter(pk=row.pk).update(**{name: getattr(row, name) - back for name, back in by.items()})


def test_a_refused_invitation_is_shown_and_the_same_name_may_be_tried_again(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy()
    holder.submit(login)
    assert holder.status()["step"] == "username_submitted" and "Inviting" in text(holder)
    assert holder.submit(login).status_code == 200 and holder.press("invite").status_code == 303
    assert holder.license.revision == 1, "while GitHub is being asked there is nothing to try again"
    seller.org.fault("PUT *", "status:422", times=1)
    assert work_off(invitations(seller)[0]).status == "dead"
    shown = text(holder)
    assert holder.status()["step"] == "invitation_failed" and "The invitation could not be sent" in shown
    assert 'http-equiv="refresh"' not in shown and login in shown
    assert holder.submit("octocat").json()["code"] == "username_already_submitted"
    assert holder.submit(login).json()["step"] == "username_submitted" and holder.license.revision == 2
    assert holder.submit(login).status_code == 200 and holder.license.revision == 2
    seller.org.fault("PUT *", "status:422", times=1)
    assert work_off(invitations(seller)[1]).status == "dead"
    assert holder.press("invite").status_code == 303 and holder.press("invite").status_code == 303
    assert (holder.license.revision, len(invitations(seller))) == (3, 3)
    seller.work()
    assert holder.license.state == "invited" and seller.org.invited() == [login]


def test_who_waits_for_the_sellers_connection_is_told_so_and_goes_on_by_itself(seller: LicenseShop) -> None:
    holders = [seller.buy(), seller.buy()]
    for holder in holders:
        holder.submit(seller.org.person()[0])
    seller.org.revoke_tokens()
    waiting = work_off(invitations(seller)[0])
    assert waiting.wait_reason == "github_connection"
    for holder in holders:
        shown = text(holder)
        assert holder.status()["step"] == "waiting_for_seller" and "connection to GitHub has to be mended" in shown
        assert 'content="20;' in shown, "it looks again by itself, and not every few seconds"
        assert holder.press("invite").status_code == 303 and holder.license.revision == 1
    mend(seller)
    for row in invitations(seller):
        work_off(row)
    assert {holder.license.state for holder in holders} == {"invited"}


def test_an_outage_of_github_is_not_shown_as_a_matter_of_seconds(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy()
    holder.submit(login)
    seller.org.fault("GET *", "status:500", times=20)
    for shown in ("Inviting", "GitHub does not answer"):
        assert work_off(invitations(seller)[0]).status == "pending"
        assert shown in text(holder) and holder.status()["step"] == "username_submitted"
    assert 'content="20;' in text(holder)


def test_staff_invite_anew_what_could_not_be_sent_and_it_counts_as_stuck(seller: LicenseShop, alice: Developer) -> None:
    login, _ = seller.org.person()
    holder = seller.buy()
    holder.submit(login)
    assert invite_by_staff(row=holder.license, reason="Asked", actor=alice.user).revision == 1
    seller.org.fault("PUT *", "status:422", times=1)
    work_off(invitations(seller)[0])
    assert not License.objects.stuck(clock.now()).filter(pk=holder.license.pk).exists()
    age(holder, username_submitted_at=dt.timedelta(hours=25))
    assert license_metrics(project=seller.project).stuck_submitted == 1
    for _ in range(2):
        put_stuck_before_staff()
    item = ReviewItem.objects.for_project(seller.project).get(cause_key__startswith="license_stuck:")
    assert item.title.endswith("the invitation could not be sent")
    assert invite_by_staff(row=holder.license, reason="A seat was bought", actor=alice.user).revision == 2
    assert license_metrics(project=seller.project).stuck_submitted == 0
    seller.work()
    assert holder.license.state == "invited"


def test_who_has_access_keeps_it_until_github_says_that_they_are_out(seller: LicenseShop, alice: Developer) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().active(login)
    age(holder, first_invited_at=LONG)
    seller.org.revoke_tokens()
    for _ in range(2):
        invite_by_staff(row=holder.license, reason="Lost the page", actor=alice.user)
    (check,) = (row for row in invitations(seller) if row.payload.get("check"))
    assert work_off(check).wait_reason == "github_connection"
    assert holder.status()["step"] == "active" and "git clone" in text(holder)
    mend(seller)
    asked = len(seller.org.requests("PUT"))
    assert work_off(check).result == {"login": login, "state": "active"}
    assert (holder.license.state, holder.license.revision) == ("active", 1)
    assert len(seller.org.requests("PUT")) == asked
    # Somebody took them out by hand.
    seller.org.set_role(login, None)
    invite_by_staff(row=holder.license, reason="They are out", actor=alice.user)
    seller.work()
    row = holder.license
    assert (row.state, row.revision, row.first_invited_at) == ("invited", 2, row.invited_at)
    assert seller.org.invited() == [login] and license_metrics(project=seller.project).stuck_invited == 0


def test_figures_belong_to_the_person_who_is_meant(seller: LicenseShop, alice: Developer) -> None:
    (first, _), (second, _) = seller.org.person(), seller.org.person()
    holder = seller.buy().active(first)
    age(holder, first_invited_at=LONG, activated_at=LONG)
    holder.submit(second, replace=True, revision=1)
    figures = license_metrics(project=seller.project)
    assert (figures.invited, figures.accepted, figures.conversion) == (0, 0, None)
    seller.work()
    row, figures = holder.license, license_metrics(project=seller.project)
    assert row.first_invited_at == row.invited_at and figures.stuck_invited == 0
    # Inviting the same person again begins nothing anew.
    seller.org.answer(second, accept=False)
    assert seller.poll() == 1 and holder.call("POST", "invite-again").status_code == 200
    seller.work()
    assert holder.license.first_invited_at == row.first_invited_at
    seller.org.answer(second)
    assert seller.poll() == 1
    figures = license_metrics(project=seller.project)
    assert (figures.invited, figures.accepted) == (1, 1) and figures.accept_seconds is not None
    assert figures.accept_seconds < 3600
    # Nor does a licence that is given back count from its first time.
    age(holder, first_invited_at=LONG, activated_at=LONG)
    revoke_license(row=holder.license, reason="A mistake", actor=alice.user)
    seller.work()
    restore_license(row=holder.license, reason="It was one", actor=alice.user)
    seller.work()
    row = holder.license
    assert row.state == "invited" and row.first_invited_at == row.invited_at


def test_a_mail_that_is_asked_for_fits_where_things_stand_when_it_is_sent(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().invited(login)
    assert resend_link(row=holder.license)
    seller.org.answer(login)
    assert seller.poll() == 1
    License.objects.filter(pk=holder.license.pk).update(invitation_mail_sent_at=None)
    (asked,) = seller.effects(kind="license_mail", payload__asked_for=True)
    before = len(mail.outbox)
    assert work_off(asked).status == "done" and "you have access" in mail.outbox[before].subject
    row = holder.license
    assert row.access_mail_sent_at is not None and row.invitation_mail_sent_at is None
    License.objects.filter(pk=row.pk).update(state="invited", invitation_ended_as="expired")
    resend_link(row=holder.license)
    assert work_off(seller.effects(kind="license_mail").last()).status == "done"
    assert "is ready" in mail.outbox[before + 1].subject


def test_nothing_but_its_end_is_mailed_about_a_licence_that_was_taken_back(
    seller: LicenseShop, alice: Developer
) -> None:
    holder = seller.buy()
    resend_link(row=holder.license)
    revoke_license(row=holder.license, reason="A mistake", actor=alice.user)
    seller.work("license_mail")
    assert holder.license.state == "revoked" and not resend_link(row=holder.license)
    mails = seller.effects(kind="license_mail")
    assert [row.payload["template"] for row in mails.filter(status="done")] == ["license_revoked"]
    assert {row.status for row in mails.exclude(payload__template="license_revoked")} == {"skipped"}
