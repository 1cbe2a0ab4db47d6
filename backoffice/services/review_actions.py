"""What is done about a review item: warn, ban, refund, revoke or replay, and with it the item is decided.

Invariant: the deed, its own line in the action log and the decision about the item are one transaction; an item that somebody
else decided meanwhile refuses the deed, and so does one that is by now about something else than was named. What Stripe or GitHub
is asked for is an effect, carried out afterwards.
"""

import uuid
from dataclasses import dataclass

from django.db import transaction

from accounts.models import User
from backoffice.services.dead_letters import replay_effects
from backoffice.services.review_subjects import Subject, as_uuid, subject_of
from common.errors import Conflict, FieldError
from common.money import money_text
from licenses.services.revoking import revoke_license
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import AlreadyDecided, checked_reason, decide_review_item
from notifications.models import OutboxRow
from notifications.services.mail import MAIL
from notifications.services.outbox import record_effect
from payments.models import Subscription, Transaction, WebhookEvent
from payments.services.dead_letters import replay_chosen
from payments.services.objects.refund import REVOKE
from payments.services.refunds import RefundRequest, refundable_cents, request_refund
from payments.services.staff_subscriptions import CANCEL_NOW, StaffChange, request_staff_change
from projects.models import EndUser
from projects.services.end_users import set_end_user_active

WARN, BAN, REFUND, REPLAY = "warn", "ban", "refund", "replay"
# Two kinds of access that can be revoked, each by the right that it needs on its own page.
REVOKE_LICENSE, REVOKE_SUBSCRIPTION = "revoke", "revoke_subscription"
MESSAGE_CHARS_MAX = 2000


@dataclass(frozen=True)
class Named:
    """What a deed would be done to: as it is compared, and as it is said to whoever is asked."""

    key: str
    text: str


class NothingToDo(Conflict):
    """409: the item is about nothing that this could be done to."""

    code = "nothing_to_do"
    detail = "This item is about nothing that this can be done to."


class NotWhatWasNamed(Conflict):
    """409: the item is about something else by now, or about another amount."""

    code = "not_what_was_named"
    detail = "What this would be done to has changed since it was shown. Nothing was done: look again."


def warn(*, item: ReviewItem, actor: User, reason: str, message: str) -> None:
    """Mail the item's user a warning, and approve the item. Raises: FieldError (422), NothingToDo, AlreadyDecided (409)."""
    end_user, message = _user_of(item), message.strip()
    if not message or len(message) > MESSAGE_CHARS_MAX:
        raise FieldError("body", "message", msg=f"Write to the user, in at most {MESSAGE_CHARS_MAX} characters.")
    with transaction.atomic():
        _decide(item, actor, reason, WARN)
        record_effect(
            project_id=item.project_id,
            mode=item.mode,
            kind=MAIL,
            effect_key=f"{MAIL}:warning:{item.pk}",
            payload={"template": "warning", "to": None, "context": {"message": message}},
            end_user_id=end_user.pk,
            cause=f"review:{item.pk}",
        )
        log_action(
            action="end_user.warn",
            subject=str(end_user.pk),
            actor=actor,
            reason=reason.strip(),
            project_id=item.project_id,
            mode=item.mode,
            details={"item": str(item.pk)},
        )


def ban(*, item: ReviewItem, actor: User, reason: str) -> None:
    """Ban the item's user, and approve the item. Raises: FieldError (422), NothingToDo, AlreadyDecided (409)."""
    end_user = _user_of(item)
    with transaction.atomic():
        _decide(item, actor, reason, BAN)
        set_end_user_active(end_user=end_user, is_active=False, actor=actor, reason=reason)


def refund(*, item: ReviewItem, actor: User, reason: str, request: uuid.UUID, named: str) -> None:
    """Give back all that is left of the item's payment, with what it bought, and approve the item.

    Raises: FieldError (422), NothingToDo, NotWhatWasNamed, NotRefundable, AlreadyDecided (409), and what limits the actor.
    """
    payment = subject_of(item).payment
    if payment is None:
        raise NothingToDo("This item is about no payment.")
    wanted = RefundRequest(key=request, amount_cents=None, access=REVOKE, cancel_subscription=False, reason=reason)
    with transaction.atomic():
        _decide(item, actor, reason, REFUND)
        # Held until the commit, so that what is left of it stays what it is compared with.
        held = Transaction.objects.for_project(item.project_id).select_for_update().get(pk=payment.pk)
        _check_named(named, _name_of_refund(held))
        request_refund(payment=held, request=wanted, actor=actor)


def revoke(*, item: ReviewItem, actor: User, reason: str, named: str) -> None:
    """Revoke the licence that the item is about or whose payment it is, and approve the item.

    Raises: FieldError (422), NothingToDo, NotWhatWasNamed, AlreadyRevoked, AlreadyDecided (409).
    """
    row = subject_of(item).license
    if row is None:
        raise NothingToDo("This item is about no licence.")
    with transaction.atomic():
        _decide(item, actor, reason, REVOKE_LICENSE)
        _check_named(named, str(row.pk))
        revoke_license(row=row, reason=reason, actor=actor)


def revoke_subscription(*, item: ReviewItem, actor: User, reason: str, request: uuid.UUID, named: str) -> None:
    """Have the item's subscription end at Stripe at once, and its access with it, and approve the item. Nothing is paid back.

    Raises: FieldError (422), NothingToDo, NotWhatWasNamed, NotChangeable, AlreadyDecided (409).
    """
    row = subject_of(item).subscription
    if row is None:
        raise NothingToDo("This item is about no subscription that runs.")
    with transaction.atomic():
        _decide(item, actor, reason, REVOKE_SUBSCRIPTION)
        _check_named(named, row.stripe_subscription_id)
        asked = StaffChange(key=request, change=CANCEL_NOW, reason=reason)
        request_staff_change(subscription=row, asked=asked, actor=actor)


def replay(*, item: ReviewItem, actor: User, reason: str) -> None:
    """Carry a dead letter out again, an event of Stripe or an effect, and approve the item.

    Raises: FieldError (422), NothingToDo, AlreadyDecided (409).
    """
    if item.kind != ReviewItem.Kind.DEAD_LETTER:
        raise NothingToDo("This item is about no dead letter.")
    with transaction.atomic():
        _decide(item, actor, reason, REPLAY)
        if not (_replay_effect(item, actor, reason) or _replay_event(item, actor, reason)):
            raise NothingToDo("It is no dead letter any more.")


def named_for(subject: Subject, deed: str) -> Named | None:
    """Say what a deed would be done to, and by which key that is known again; None when it names nothing."""
    payment, license, subscription = subject.payment, subject.license, subject.subscription
    if deed == REFUND and payment is not None:
        return Named(_name_of_refund(payment), _what_goes_back(payment))
    if deed == REVOKE_LICENSE and license is not None:
        return Named(str(license.pk), f"{license.product.name}, licence {license.pk}")
    if deed == REVOKE_SUBSCRIPTION and subscription is not None:
        return Named(subscription.stripe_subscription_id, _what_ends(subscription))
    return None


def deeds_for(item: ReviewItem, subject: Subject) -> set[str]:
    """Return what can be done about an item, besides approving and dismissing it."""
    found = {WARN, BAN} if item.end_user_id is not None else set()
    if item.kind == ReviewItem.Kind.DEAD_LETTER:
        found.add(REPLAY)
    about = {
        REFUND: subject.payment,
        REVOKE_LICENSE: subject.license,
        REVOKE_SUBSCRIPTION: subject.subscription,
    }
    return found | {deed for deed, row in about.items() if row is not None}


def _name_of_refund(payment: Transaction) -> str:
    return f"{payment.payment_intent_id} {refundable_cents(payment)} {payment.currency}"


def _what_goes_back(payment: Transaction) -> str:
    said = f"{money_text(refundable_cents(payment), payment.currency)} of {payment.payment_intent_id}, paid by "
    said += str(payment.end_user or "a guest")
    goes_on = payment.subscription is not None and payment.subscription.ended_at is None
    return f"{said}. Its subscription goes on billing: cancel it on its own page." if goes_on else said


def _what_ends(row: Subscription) -> str:
    plan = row.plan.name if row.plan is not None else "without a plan of ours"
    return f"{row.stripe_subscription_id}, {plan}, of {row.end_user or 'a guest'}. Nothing is paid back."


def _check_named(named: str, now: str) -> None:
    if named != now:
        raise NotWhatWasNamed()


def _decide(item: ReviewItem, actor: User, reason: str, deed: str) -> None:
    """Approve the item first: of two who act at once the second is refused before anything is done."""
    reason = checked_reason(reason)
    if item.status != ReviewItem.Status.PENDING:
        raise AlreadyDecided()
    decide_review_item(item=item, status=ReviewItem.Status.APPROVED, actor=actor, reason=f"{deed}: {reason}"[:1000])


def _user_of(item: ReviewItem) -> EndUser:
    if item.end_user is None:
        raise NothingToDo("This item is about no end user.")
    return item.end_user


def _replay_effect(item: ReviewItem, actor: User, reason: str) -> bool:
    key = as_uuid(item.subject)
    rows = OutboxRow.objects.for_project(item.project_id).filter(mode=item.mode, pk=key or uuid.UUID(int=0))
    return replay_effects(rows=rows, actor=actor, reason=reason.strip()) == 1


def _replay_event(item: ReviewItem, actor: User, reason: str) -> bool:
    rows = WebhookEvent.objects.for_project(item.project_id).filter(mode=item.mode, event_id=item.subject)
    count = replay_chosen(rows=rows, project_id=item.project_id, mode=item.mode, actor=actor, reason=reason.strip())
    return count == 1
