"""What refunds do to a licence that staff gave back, what the app hears of it after a restore, and who is mailed about it."""

import datetime as dt
import uuid

from django.core import mail
from django.db import transaction

from common import clock
from licenses.models import License
from licenses.services.revoking import restore_license, revoke_license
from notifications.models import OutboxRow
from payments.models import LicensePurchase, Refund, StripeCustomer, Transaction
from payments.services.license_purchases import derive_license_revocations
from payments.services.ownership import Cause, Scope
from payments.services.recipients import payer_address
from tests.cast import AppUser, Developer
from tests.licenses.licensing import Holder, LicenseShop, work_off
from tests.payments.deliveries import deliver, events_of


def derive(holder: Holder, *, quietly: bool = False) -> str:
    """Decide anew what refunds leave of a licence, as each reading of its payment does; give its state."""
    row = holder.license
    with transaction.atomic():
        scope = Scope(row.project_id, row.mode, cause=Cause("reconcile", without_effects=quietly))
        derive_license_revocations(scope, [row.payment_intent_id])
    return holder.license.state


def refund_of(holder: Holder) -> Refund:
    rows = Refund.objects.for_project(holder.at.project).filter(payment_intent_id=holder.license.payment_intent_id)
    return rows.order_by("created_at").latest("created_at")


def told(holder: Holder) -> list[str]:
    rows = OutboxRow.objects.for_project(holder.at.project).filter(kind="app_event", payload__type__startswith="lic")
    return [row.payload["type"] for row in rows.order_by("created_at", "id")]


def test_what_staff_give_back_the_same_refund_does_not_take_again(seller: LicenseShop, alice: Developer) -> None:
    holder = seller.buy()
    holder.refund()
    first = refund_of(holder)
    assert holder.license.state == "revoked" and holder.license.taken_by == [first.stripe_refund_id]
    restore_license(row=holder.license, reason="A good customer", actor=alice.user)
    assert [derive(holder), derive(holder)] == ["pending", "pending"]
    assert [one.change for one in holder.license.changes.order_by("at", "id")] == ["issue", "take_back", "give_back"]
    second = refund_of(holder)
    second.pk, second.stripe_refund_id, second._state.adding = uuid.uuid4(), "re_second", True
    second.save(force_insert=True)
    assert derive(holder) == "revoked" and holder.license.revoked_because == "re_second"
    restore_license(row=holder.license, reason="A very good customer", actor=alice.user)
    assert derive(holder) == "pending"
    assert holder.license.overruled == sorted([first.stripe_refund_id, "re_second"])


def test_a_refund_that_came_while_staff_had_it_revoked_is_known_when_they_give_it_back(
    seller: LicenseShop, alice: Developer
) -> None:
    holder = seller.buy()
    revoke_license(row=holder.license, reason="Shared", actor=alice.user)
    holder.refund()
    assert (holder.license.state, holder.license.revoked_because) == ("revoked", "staff")
    restore_license(row=holder.license, reason="It was not shared", actor=alice.user)
    assert derive(holder) == "pending" and holder.license.overruled == [refund_of(holder).stripe_refund_id]


def test_after_a_restore_the_app_is_not_told_again(seller: LicenseShop) -> None:
    login, _ = seller.org.person()
    holder = seller.buy().active(login)
    holder.refund()
    assert told(holder)[-1] == "license.revoked"
    # As in the backup, from before the refund.
    License.objects.for_project(seller.project).update(
        state="active", revoked_at=None, revoked_by="", revoked_because="", taken_by=[]
    )
    before = told(holder)
    assert derive(holder, quietly=True) == "revoked" and holder.license.taken_by
    Refund.objects.for_project(seller.project).update(status="failed")
    assert derive(holder, quietly=True) == "username_submitted"
    assert told(holder) == before
    Refund.objects.for_project(seller.project).update(status="succeeded")
    assert derive(holder) == "revoked" and told(holder) == [*before, "license.revoked"]


def test_every_mail_about_a_licence_and_its_payment_goes_to_the_address_of_its_checkout(
    seller: LicenseShop, dana: AppUser
) -> None:
    guest, user = seller.buy(), seller.buy(headers=dana.headers)
    assert user.license.end_user_id is not None and dana.end_user.email != "buyer@example.com"
    for holder in (guest, user):
        holder.refund()
    seller.work()
    payments = {holder.license.payment_intent_id for holder in (guest, user)}
    rows = OutboxRow.objects.for_project(seller.project).filter(kind="mail", payload__payment_intent_id__in=payments)
    assert sorted(row.payload["template"] for row in rows) == ["payment_refunded"] * 2 + ["receipt"] * 2
    for row in [*rows, *seller.effects(payload__template="license_revoked")]:
        done = work_off(row) if row.kind == "mail" else row
        assert done.status == "done" and done.result is not None, row.payload["template"]
        assert done.result["to"] == ["buyer@example.com"], row.payload["template"]
    # Until a licence is known, and of what is none: whoever Stripe says is the customer.
    License.objects.for_project(seller.project).delete()
    assert {payer_address(seller.project.pk, "test", one) for one in payments} == {"buyer@example.com"}


def test_a_receipt_waits_for_the_address_of_its_checkout(seller: LicenseShop) -> None:
    holder = seller.buy()
    receipt = OutboxRow.objects.for_project(seller.project).get(kind="mail", payload__template="receipt")
    purchases = LicensePurchase.objects.for_project(seller.project)
    payments = Transaction.objects.for_project(seller.project)

    def forget() -> None:
        """As when Stripe tells of the payment before it says that the checkout is complete, and of the customer later still."""
        License.objects.for_project(seller.project).delete()
        StripeCustomer.objects.for_project(seller.project).delete()
        purchases.update(issued_at=None, status="open")

    forget()
    waiting = work_off(receipt)
    assert (waiting.status, "not complete yet" in waiting.error) == ("pending", True)
    completed = next(event for event in events_of(seller.shop) if event["type"] == "checkout.session.completed")
    deliver(seller.shop, [completed | {"id": f"{completed['id']}again"}])
    assert holder.license.state == "pending"
    done = work_off(receipt)
    assert done.status == "done" and done.result is not None and done.result["to"] == ["buyer@example.com"]
    # Not for ever: then whoever Stripe says is the customer is told, here nobody.
    forget()
    payments.update(created_at=clock.now() - dt.timedelta(minutes=11))
    assert work_off(receipt).status == "skipped"


def test_a_buyer_is_told_of_each_revocation_once_and_of_none_that_was_undone(
    seller: LicenseShop, alice: Developer
) -> None:
    holder = seller.buy()
    seller.work()
    sent = len(mail.outbox)

    def told() -> list[str]:
        return [row.status for row in seller.effects(payload__template="license_revoked")]

    revoke_license(row=holder.license, reason="Shared", actor=alice.user)
    restore_license(row=holder.license, reason="It was not shared", actor=alice.user)
    seller.work()
    assert told() == ["skipped"] and len(mail.outbox) == sent
    revoke_license(row=holder.license, reason="Shared", actor=alice.user)
    restore_license(row=holder.license, reason="It was not shared", actor=alice.user)
    revoke_license(row=holder.license, reason="It was shared", actor=alice.user)
    seller.work()
    assert told() == ["skipped", "skipped", "done"]
    (last,) = mail.outbox[sent:]
    assert "has ended" in last.subject and "refunded" not in last.body
    other = seller.buy()
    other.refund()
    assert derive(other) == "revoked"
    seller.work()
    assert "because its payment was refunded" in mail.outbox[-1].body and told()[3:] == ["done"]
    License.objects.for_project(seller.project).filter(pk=other.license.pk).update(overruled=[], taken_by=[])
    Refund.objects.for_project(seller.project).update(status="failed")
    assert derive(other, quietly=True) == "pending"
    Refund.objects.for_project(seller.project).update(status="succeeded")
    assert derive(other, quietly=True) == "revoked" and told()[4:] == ["skipped"]
