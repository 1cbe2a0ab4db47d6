"""What is done about a review item: warn, ban, refund, revoke or replay, and with it the item is decided.

Invariant: the deed, its own line in the action log and the decision about the item are one transaction; an item that somebody
else decided meanwhile refuses the deed. What Stripe or GitHub is asked for is an effect, carried out afterwards.
"""

import uuid
from collections.abc import Callable

from django.db import transaction

from accounts.models import User
from backoffice.services.dead_letters import replay_effects
from common.errors import Conflict, FieldError
from common.money import money_text
from licenses.models import License
from licenses.services.revoking import revoke_license
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import AlreadyDecided, checked_reason, decide_review_item
from notifications.models import OutboxRow
from notifications.services.mail import MAIL
from notifications.services.outbox import record_effect
from payments.models import Dispute, Subscription, Transaction, WebhookEvent
from payments.models.billing import ENDED_STATUSES
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


class NothingToDo(Conflict):
    """409: the item is about nothing that this could be done to."""

    code = "nothing_to_do"
    detail = "This item is about nothing that this can be done to."


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


def refund(*, item: ReviewItem, actor: User, reason: str, request: uuid.UUID) -> None:
    """Give back all that is left of the item's payment, with what it bought, and approve the item.

    Raises: FieldError (422), NothingToDo, NotRefundable, AlreadyDecided (409), and what limits the actor's refunds.
    """
    payment = payment_of(item)
    if payment is None:
        raise NothingToDo("This item is about no payment.")
    wanted = RefundRequest(key=request, amount_cents=None, access=REVOKE, cancel_subscription=False, reason=reason)
    with transaction.atomic():
        _decide(item, actor, reason, REFUND)
        request_refund(payment=payment, request=wanted, actor=actor)


def revoke(*, item: ReviewItem, actor: User, reason: str) -> None:
    """Revoke the licence that the item is about or whose payment it is, and approve the item.

    Raises: FieldError (422), NothingToDo, AlreadyRevoked, AlreadyDecided (409).
    """
    row = license_of(item)
    if row is None:
        raise NothingToDo("This item is about no licence.")
    with transaction.atomic():
        _decide(item, actor, reason, REVOKE_LICENSE)
        revoke_license(row=row, reason=reason, actor=actor)


def revoke_subscription(*, item: ReviewItem, actor: User, reason: str, request: uuid.UUID) -> None:
    """Have the item's subscription end at Stripe at once, and its access with it, and approve the item. Nothing is paid back.

    Raises: FieldError (422), NothingToDo, NotChangeable, AlreadyDecided (409).
    """
    row = subscription_of(item)
    if row is None:
        raise NothingToDo("This item is about no subscription that runs.")
    with transaction.atomic():
        _decide(item, actor, reason, REVOKE_SUBSCRIPTION)
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


def payment_of(item: ReviewItem) -> Transaction | None:
    """Find the payment that an item is about, by what it is about or by what is known of it."""
    rows = Transaction.objects.for_project(item.project_id).in_mode(item.mode)
    reporter = item.details.get("reported_by") or {}
    if reporter.get("kind") == "end_user":
        # What somebody typed into a report reaches their own payments and those of whom it is about, and nobody else's.
        rows = rows.filter(end_user__in={item.end_user_id, _as_uuid(str(reporter.get("id") or ""))} - {None})
    named = {item.subject, str(item.details.get("payment_intent_id") or ""), str(item.details.get("reference") or "")}
    disputed = Dispute.objects.for_project(item.project_id).filter(mode=item.mode, stripe_dispute_id=item.subject)
    named |= set(disputed.values_list("payment_intent_id", flat=True))
    return rows.filter(payment_intent_id__in=named - {""}).order_by("-created_at").first()


def what_goes_back(item: ReviewItem) -> str:
    """Say which payment of whom a refund is about, how much of it, and what goes on; "" when it is about none."""
    payment = payment_of(item)
    if payment is None:
        return ""
    said = f"{money_text(refundable_cents(payment), payment.currency)} of {payment.payment_intent_id}, paid by "
    said += str(payment.end_user or "a guest")
    goes_on = payment.subscription is not None and payment.subscription.ended_at is None
    return f"{said}. Its subscription goes on billing: cancel it on its own page." if goes_on else said


def subscription_of(item: ReviewItem) -> Subscription | None:
    """Find what runs and an item is about: the subscription that it or its payment names, else the one that its user has."""
    rows = Subscription.objects.for_project(item.project_id).filter(mode=item.mode)
    payment = payment_of(item)
    if payment is not None:
        found = payment.subscription
    elif item.kind != ReviewItem.Kind.REPORT and item.subject.startswith("sub_"):
        found = rows.filter(stripe_subscription_id=item.subject).first()
    else:
        found = rows.current_for(item.end_user, item.mode) if item.end_user is not None else None
    return found if found is not None and found.status not in ENDED_STATUSES else None


def what_ends(item: ReviewItem) -> str:
    """Say whose subscription would end; "" when it is about none."""
    row = subscription_of(item)
    if row is None:
        return ""
    plan = row.plan.name if row.plan is not None else "without a plan of ours"
    return f"{row.stripe_subscription_id}, {plan}, of {row.end_user or 'a guest'}. Nothing is paid back."


def license_of(item: ReviewItem) -> License | None:
    """Find the licence that an item is about, or that the payment it is about has bought."""
    rows = License.objects.for_project(item.project_id).filter(mode=item.mode).select_related("product")
    if item.kind == ReviewItem.Kind.STUCK_LICENSE and (key := _as_uuid(item.subject)):
        return rows.filter(pk=key).first()
    payment = payment_of(item)
    return rows.filter(payment_intent_id=payment.payment_intent_id).first() if payment else None


def deeds_for(item: ReviewItem) -> dict[str, Callable[..., None]]:
    """Return what can be done about an item, besides approving and dismissing it."""
    found: dict[str, Callable[..., None]] = {}
    if item.end_user_id is not None:
        found |= {WARN: warn, BAN: ban}
    if payment_of(item) is not None:
        found[REFUND] = refund
    if license_of(item) is not None:
        found[REVOKE_LICENSE] = revoke
    if subscription_of(item) is not None:
        found[REVOKE_SUBSCRIPTION] = revoke_subscription
    if item.kind == ReviewItem.Kind.DEAD_LETTER:
        found[REPLAY] = replay
    return found


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
    key = _as_uuid(item.subject)
    rows = OutboxRow.objects.for_project(item.project_id).filter(mode=item.mode, pk=key or uuid.UUID(int=0))
    return replay_effects(rows=rows, actor=actor, reason=reason.strip()) == 1


def _replay_event(item: ReviewItem, actor: User, reason: str) -> bool:
    rows = WebhookEvent.objects.for_project(item.project_id).filter(mode=item.mode, event_id=item.subject)
    count = replay_chosen(rows=rows, project_id=item.project_id, mode=item.mode, actor=actor, reason=reason.strip())
    return count == 1


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
