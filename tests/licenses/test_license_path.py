"""From the username to the team: who may move a licence, what each move stamps, and what GitHub's faults leave."""

import datetime as dt
from typing import Any

import pytest
from django.db import transaction

from common import clock
from licenses.models import GitHubConnection, License, LicenseProduct, LicenseSeat
from licenses.services import github_client
from licenses.services.github import GitHub
from licenses.services.metrics import license_metrics, put_stuck_before_staff
from licenses.services.polling import poll_invitations
from licenses.services.removals import sweep_unwanted_seats, unwanted_seats
from licenses.services.revoking import revoke_license
from licenses.services.states import LicenseMoved, move_license
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import BillingPolicy, LicensePurchase, Refund, Transaction
from payments.services.license_purchases import derive_license_revocations
from payments.services.ownership import Scope
from tests.cast import Developer
from tests.github import DAY
from tests.licenses.licensing import Holder, LicenseShop, work_off
from tests.payments.deliveries import control
from tests.payments.shop import at_once

WEEK = 7 * DAY + 60


def history(holder: Holder) -> list[tuple[str, str, str, str]]:
    rows = holder.license.changes.order_by("at", "id")
    return [(row.change, row.before, row.after, row.by.partition(":")[0]) for row in rows]


def seats(holder: Holder) -> list[LicenseSeat]:
    return list(LicenseSeat.objects.for_project(holder.at.project).filter(license=holder.license).order_by("revision"))


def derive(holder: Holder) -> None:
    """Decide anew what refunds and disputes leave of a licence, as the writing of their rows does."""
    with transaction.atomic():
        derive_license_revocations(Scope(holder.at.project.pk, holder.license.mode), [holder.license.payment_intent_id])


# Works


def test_the_whole_way_is_stamped_told_and_mailed_once(seller: LicenseShop) -> None:
    login, number = seller.org.person("Mona")
    holder = seller.buy()
    asked = holder.submit(f" @{login.lower()} ")
    assert (asked.status_code, asked.json()["step"]) == (200, "username_submitted")
    assert seller.org.requests() == [], "GitHub is not asked in a request"
    seller.work()
    row = holder.license
    assert (row.state, row.username, row.github_user_id) == ("invited", login, number)
    assert seller.org.invited() == [login] and row.first_invited_at == row.invited_at is not None
    shown = holder.status()
    assert (shown["step"], shown["clone_command"]) == ("invited", None) and seller.org.login in shown["invitation_url"]
    assert poll_invitations() == 0
    assert seller.poll() == 0 and holder.license.state == "invited"
    seller.org.answer(login)
    assert seller.poll() == 1 and seller.poll() == 0
    seller.work()
    row, shown = holder.license, holder.status()
    assert shown["step"] == "active" and shown["clone_command"].endswith("/acme/kit.git")
    assert row.activated_at and row.welcome_sent_at and row.invitation_mail_sent_at and row.access_mail_sent_at
    assert history(holder) == [
        ("issue", "", "pending", "stripe"),
        ("take_username", "pending", "username_submitted", "buyer"),
        ("note_invited", "username_submitted", "invited", "github"),
        ("note_member", "invited", "active", "github"),
    ]
    assert seller.keys() == [
        "mail:license_welcome:purchase", "github:invite:1", "mail:license_invited:1", "mail:license_granted:1",
    ]  # fmt: skip
    told = OutboxRow.objects.for_project(seller.project).filter(kind="app_event", payload__type__startswith="license.")
    assert sorted(one.payload["type"] for one in told) == [
        "license.activated", "license.invited", "license.purchased", "license.username_submitted",
    ]  # fmt: skip
    figures = license_metrics(project=seller.project, mode="test")
    assert (figures.sold, figures.invited, figures.accepted, figures.conversion) == (1, 1, 1, 1.0)
    assert figures.accept_seconds is not None and license_metrics(project=seller.project, mode="live").sold == 0


def test_who_is_in_the_team_already_is_active_at_once(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    seller.org.set_role(login, "member", "customers")
    holder = seller.buy()
    holder.submit(login)
    seller.work()
    assert holder.license.state == "active" and holder.license.first_invited_at is None
    assert seller.org.invited() == [] and not seller.org.requests("PUT")
    assert license_metrics(project=seller.project).conversion is None


def test_a_product_may_have_a_team_of_its_own(seller: LicenseShop) -> None:
    seller.org.add_team("beta")
    LicenseProduct.objects.for_project(seller.project).update(team_slug="beta")
    login, _ = seller.org.person()
    seller.buy().active(login)
    assert (seller.org.members("beta"), seller.org.members()) == ([login], [])


# Refuses


def test_an_unknown_username_and_an_organisation_are_asked_for_again(seller: LicenseShop) -> None:
    holder = seller.buy()
    for name, problem in (("nobody-here-xyz", "unknown_username"), (seller.org.login, "not_a_person")):
        assert holder.submit(name).status_code == 200
        seller.work()
        row = holder.license
        assert (row.state, row.username_problem, row.github_user_id) == ("pending", problem, None)
    assert seats(holder) == [] and seller.org.invited() == []
    login, _ = seller.org.person()
    assert holder.invited(login).license.username_problem == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "a?x=", "a%2f..", "x" * 40, "-a", "ünïcode", "a b", ""])
def test_what_cannot_be_a_username_never_reaches_github(seller: LicenseShop, name: str) -> None:
    holder = seller.buy()
    assert holder.submit(name).status_code == 422
    assert holder.license.state == "pending" and seller.keys() == ["mail:license_welcome:purchase"]


def test_nobody_else_moves_a_licence(seller: LicenseShop, alice: Developer, dana: Any, acme_server: Any) -> None:
    holder = seller.buy()
    before = (history(holder), seller.keys())
    for headers in (alice.headers, dana.headers, acme_server.headers, {"Authorization": f"Bearer {holder.token}x"}, {}):
        leaf = {"github_username": "mona"}
        answer = seller.visitor().post(
            "/api/v1/license-access/submit-username", leaf, content_type="application/json", headers=headers
        )
        assert answer.status_code == 401, headers
    assert (history(holder), seller.keys()) == before
    row = holder.license
    for change in ("note_invited", "note_member", "refuse_username", "give_back"):
        with pytest.raises((LicenseMoved, RuntimeError)):
            move_license(row, change, by="test")
    assert holder.license.state == "pending"


# Edge: expiry, renaming, change


def test_an_expired_invitation_is_offered_again_and_a_declined_one_too(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().invited(login)
    refused = holder.call("POST", "invite-again")
    assert refused.status_code == 409, "an open invitation is not sent again"
    seller.org.answer(login, accept=False)
    assert seller.poll() == 1 and holder.license.invitation_ended_as == "declined"
    pressed = at_once(3, lambda _: holder.call("POST", "invite-again").status_code)
    assert pressed == [200] * 3 and holder.license.revision == 2
    seller.work()
    assert seller.org.invited() == [login] and holder.license.invitation_ended_as == ""
    assert len(seller.org.requests("PUT")) == 2
    seller.org.advance(WEEK)
    License.objects.for_project(seller.project).update(invited_at=clock.now() - dt.timedelta(days=8))
    assert seller.poll() == 1
    assert holder.status()["step"] == "invitation_ended" and holder.license.invitation_ended_as == "expired"
    holder.call("POST", "invite-again")
    seller.work()
    seller.org.answer(login)
    assert seller.poll() == 1 and holder.license.state == "active"
    assert seller.org.members() == [login] and not unwanted_seats().filter(license=holder.license).exists()


def test_another_username_takes_the_place_of_the_first_which_is_really_removed(seller: LicenseShop) -> None:
    (first, _), (second, _) = seller.org.person(), seller.org.person()
    holder = seller.buy().active(first)
    kept = holder.submit(second)
    assert (kept.status_code, kept.json()["code"], kept.json()["github_username"]) == (
        409, "username_already_submitted", first,
    )  # fmt: skip
    assert holder.submit(second, replace=True, revision=0).status_code == 409
    assert holder.submit(second, replace=True, revision=1).status_code == 200
    assert seller.org.members() == [first], "until the new one is known to be somebody"
    seller.work()
    assert (seller.org.members(), seller.org.invited()) == ([], [second])
    assert [bool(seat.removed_at) for seat in seats(holder)] == [True, False]
    holder.submit("nobody-here-xyz", replace=True, revision=2)
    seller.work()
    assert holder.license.state == "pending" and seller.org.invited() == [second]


def test_somebody_who_was_renamed_is_the_same_person_and_a_stranger_with_the_old_name_is_not(
    seller: LicenseShop,
) -> None:
    login, _ = seller.org.person("Old")
    holder = seller.buy().invited(login)
    seller.org.rename(login, f"{login}-new")
    stranger, _ = seller.org.person("Stranger")
    seller.org.rename(stranger, login)
    seller.org.set_role(login, "member", "customers")
    seller.org.answer(f"{login}-new")
    assert seller.poll() == 1 and holder.license.state == "active"
    holder.refund()
    seller.work()
    assert seller.org.members() == [login], "the stranger stays, the buyer is gone"


# Revocation


def test_a_refund_takes_the_licence_and_the_member_and_a_failed_one_gives_it_back(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().active(login)
    half = seller.shop.api("POST", "refunds", payment_intent=holder.license.payment_intent_id, amount=100)
    seller.deliver_new()
    assert (half["status"], holder.license.state) == ("succeeded", "active")
    holder.refund()
    row = holder.license
    assert (row.state, row.revoked_because[:3], row.revoked_by[:7]) == ("revoked", "re_", "stripe:")
    assert holder.status()["step"] == "revoked" and holder.status()["clone_command"] is None
    assert holder.submit(login).json()["code"] == "license_revoked"
    seller.work()
    assert seller.org.members() == [] and login not in str(seller.org.state()["members"])
    assert seats(holder)[0].removed_at is not None
    Refund.objects.for_project(seller.project).filter(stripe_refund_id=row.revoked_because).update(status="failed")
    derive(holder)
    assert holder.license.state == "username_submitted"
    seller.work()
    assert seller.org.invited() == [login]


def test_news_of_the_refund_may_come_before_the_licence(seller: LicenseShop) -> None:
    holder = seller.buy(delivered=False)
    purchase = holder.status()["license"]
    seller.shop.api("POST", "refunds", payment_intent=purchase["payment_intent_id"])
    License.objects.for_project(seller.project).delete()
    LicensePurchase.objects.for_project(seller.project).update(issued_at=None)
    seller.deliver_new()
    assert holder.license.state == "revoked"
    seller.work()
    assert [(row.payload["template"], row.status) for row in seller.effects(kind="license_mail")] == [
        ("license_welcome", "skipped"),
        ("license_revoked", "done"),
    ]


def test_a_lost_dispute_revokes_and_a_won_one_gives_back_what_its_opening_took(seller: LicenseShop) -> None:
    lost, won = seller.buy(), seller.buy()
    for holder in (lost, won):
        payment = Transaction.objects.for_project(seller.project).get(
            payment_intent_id=holder.license.payment_intent_id
        )
        control(seller.shop, f"charges/{payment.stripe_charge_id}/dispute", reason="fraudulent")
    BillingPolicy.objects.create(project=seller.project, dispute_revokes="opened")
    seller.deliver_new()
    assert {lost.license.state, won.license.state} == {"revoked"}
    for holder, outcome in ((lost, "lost"), (won, "won")):
        dispute = next(
            one for one in seller.shop.objects("disputes") if one["payment_intent"] == holder.license.payment_intent_id
        )
        control(seller.shop, f"disputes/{dispute['id']}/close", outcome=outcome)
    seller.deliver_new()
    assert (lost.license.state, won.license.state) == ("revoked", "pending")
    assert history(won)[-1] == ("give_back", "revoked", "pending", "stripe")


def test_staff_revoke_for_a_reason_and_no_bank_undoes_that(seller: LicenseShop, alice: Developer) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().invited(login)
    revoke_license(row=holder.license, reason="Shared with everybody", actor=alice.user)
    seller.work()
    assert (seller.org.invited(), holder.license.revoked_because) == ([], "staff")
    assert history(holder)[-1] == ("take_back", "invited", "revoked", "staff")
    derive(holder)
    assert holder.license.state == "revoked"


def test_an_owner_and_whoever_another_licence_lets_in_stay(seller: LicenseShop) -> None:
    holder, other = seller.buy(), seller.buy()
    login, _ = seller.org.person()
    for one in (holder, other):
        one.submit(login)
    seller.work()
    seller.org.answer(login)
    assert seller.poll() == 2
    holder.refund()
    seller.work()
    assert seller.org.members() == [login], "the other licence lets them in"
    seller.org.set_role(login, "admin", "customers")
    other.refund()
    seller.work()
    assert seller.org.members() == [login], "owners are never removed"
    assert ReviewItem.objects.for_project(seller.project).filter(cause_key__startswith="license_seat:").count() == 1


# Race


def test_of_two_tabs_with_two_names_one_wins_and_the_other_is_told(seller: LicenseShop) -> None:
    names = [seller.org.person()[0] for _ in range(4)]
    holder = seller.buy()
    answers = at_once(4, lambda number: holder.submit(names[number]))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    won = next(answer for answer in answers if answer.status_code == 200).json()["license"]["github_username"]
    assert {a.json()["github_username"] for a in answers if a.status_code == 409} == {won}
    seller.work()
    assert seller.org.invited() == [won] and len(seats(holder)) == 1


def test_a_licence_revoked_while_github_is_inviting_leaves_nobody_in(
    seller: LicenseShop, alice: Developer, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, _ = seller.org.person()
    holder = seller.buy()
    holder.submit(login)
    asked: Any = GitHub.invite

    def invite_slowly(github: GitHub, name: str) -> str:
        revoke_license(row=holder.license, reason="A mistake", actor=alice.user)
        seller.work("github_remove")
        assert seats(holder)[0].removed_at is not None
        answer: str = asked(github, name)
        return answer

    with monkeypatch.context() as patch:
        # The race's one order that cannot be had by timing: the removal found nobody, and then the invitation arrived.
        patch.setattr(GitHub, "invite", invite_slowly)
        seller.work("github_invite")
    assert holder.license.state == "revoked" and seller.org.invited() == [login]
    seller.work()
    assert seller.org.invited() == [] and seats(holder)[0].removed_at is not None


def test_a_removal_that_nobody_recorded_is_found(seller: LicenseShop, alice: Developer) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().invited(login)
    revoke_license(row=holder.license, reason="A mistake", actor=alice.user)
    seller.effects(kind="github_remove").delete()
    assert sweep_unwanted_seats() >= 1
    assert seller.effects(kind="github_remove").count() == 1
    sweep_unwanted_seats()
    assert seller.effects(kind="github_remove").count() == 1
    seller.work()
    assert seller.org.invited() == [] and not unwanted_seats().filter(license=holder.license).exists()


# GitHub's faults


def test_an_invitation_whose_answer_is_lost_is_sent_once(seller: LicenseShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_client, "TIMEOUT_SECONDS", 0.3)
    # What happens to the call that invites, to the look at what came of it, and how often GitHub is asked to invite then.
    cases = (
        ("timeout_after_effect", "", 1),
        ("reset_after_effect", "", 1),
        ("timeout_after_effect", "status:502", 1),
        ("status:500", "", 2),
    )
    for do, look, asked in cases:
        login, _ = seller.org.person()
        holder = seller.buy()
        holder.submit(login)
        before = len(seller.org.requests("PUT"))
        seller.org.fault("PUT *", do, seconds=1)
        if look:
            # The look before inviting went well.
            seller.org.fault(f"GET /orgs/*/teams/*/memberships/{login}", look, nth=2)
        row = work_off(seller.effects(kind="github_invite").last())
        if look or asked > 1:
            assert (row.status, row.attempts) == ("pending", 1), (do, look)
            assert holder.license.state == "username_submitted" and holder.license.invited_at is None
            row = work_off(row)
        assert (row.status, holder.license.state) == ("done", "invited"), (do, look)
        assert len(seller.org.requests("PUT")) - before == asked, (do, look)
        assert seller.org.invited().count(login) == 1
        mails = seller.effects(kind="license_mail", effect_key__startswith=f"mail:license_invited:{holder.license.pk}:")
        assert mails.count() == 1
        seller.org.clear_faults()


def test_a_used_up_quota_waits_a_day_and_the_page_says_so(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    seller.org.settings(invitations_per_day=0)
    holder = seller.buy()
    holder.submit(login)
    row = work_off(seller.effects(kind="github_invite").get())
    wait = row.next_attempt_at - clock.now()
    assert row.status == "pending" and dt.timedelta(hours=23) < wait < dt.timedelta(hours=25)
    assert holder.status()["delayed_until"] is not None
    assert b"Your invitation is queued" in holder.page().content
    seller.org.settings(invitations_per_day=50)
    assert work_off(row).status == "done" and holder.license.delayed_until is None


def test_a_token_that_is_refused_waits_for_a_person_and_uses_up_no_attempt(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy()
    seller.org.revoke_tokens()
    holder.submit(login)
    row = work_off(seller.effects(kind="github_invite").get())
    assert (row.status, row.wait_reason, row.attempts) == ("pending", "github_connection", 0)
    items = ReviewItem.objects.for_project(seller.project).filter(cause_key__startswith="github:")
    assert items.count() == 1 and holder.license.state == "username_submitted"
    connection = GitHubConnection.objects.for_project(seller.project).get()
    connection.set_token(seller.org.new_token())
    connection.save()
    assert work_off(row).status == "done" and holder.license.state == "invited"


def test_an_error_never_counts_as_declined(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().invited(login)
    seller.org.answer(login, accept=False)
    # The last one is about this buyer alone: what is asked for everybody goes well.
    for line, do in (("GET *", "status:500"), ("GET *", "status:403"), ("GET /user/*", "status:500")):
        seller.org.fault(line, do, times=20)
        assert seller.poll() == 0
        seller.org.clear_faults()
        assert holder.license.invitation_ended_as == "" and holder.license.state == "invited"
    assert seller.poll() == 1 and holder.license.invitation_ended_as == "declined"


def test_the_poller_lists_once_for_many_and_two_at_once_ask_nothing_twice(
    seller: LicenseShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [seller.org.person()[0] for _ in range(4)]
    for login in people:
        seller.buy().invited(login)
    seller.org.answer(people[0])
    LicenseSeat.objects.for_project(seller.project).update(next_check_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    before = len(seller.org.requests())
    others: list[int] = []
    asked_for: Any = GitHub.list_invitations

    def list_while_another_round_begins(github: GitHub) -> Any:
        if not others:
            others.append(-1)
            others[0] = poll_invitations()
        return asked_for(github)

    with monkeypatch.context() as patch:
        # Two rounds that really overlap: threads do so now and then only.
        patch.setattr(GitHub, "list_invitations", list_while_another_round_begins)
        assert poll_invitations() == 1 and others == [0]
    asked = seller.org.requests()[before:]
    assert len([one for one in asked if one.endswith("/invitations")]) == 1 and len(asked) <= 4, asked


def test_licences_that_wait_too_long_are_put_before_staff_once(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    pending, invited = seller.buy(), seller.buy().invited(login)
    old = clock.now() - dt.timedelta(days=8)
    License.objects.for_project(seller.project).update(purchased_at=old)
    License.objects.for_project(seller.project).filter(pk=invited.license.pk).update(first_invited_at=old)
    put_stuck_before_staff()
    items = ReviewItem.objects.for_project(seller.project).filter(cause_key__startswith="license_stuck:")
    assert items.count() == 2
    put_stuck_before_staff()
    assert items.count() == 2
    figures = license_metrics(project=seller.project)
    assert (figures.stuck_pending, figures.stuck_invited) == (1, 1) and pending.license.state == "pending"
