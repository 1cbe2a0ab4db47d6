"""Why somebody who paid has no access, or less than they think: what a person would check one after the other, said in sentences.

Each cause names what mends it by a word that the page turns into a link; "" means that there is nothing to press.
"""

from dataclasses import dataclass

from backoffice.services.support_case import Case, HeldSubscription
from payments.models.billing import ENDED_STATUSES

SYNC, REPLAY, KEYS, INVOICE, GIVE, UNBAN, OTHER_MODE, NAMESAKE, PLAN_PRICES, REFUND, EFFECT = (
    "sync", "replay", "keys", "invoice", "give", "unban", "other_mode", "namesake", "plan_prices", "refund", "effect",
)  # fmt: skip
PAID = ("succeeded", "partially_refunded")


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong. `key` is the id of the row that `mend` is about."""

    text: str
    mend: str = ""
    key: str = ""
    grave: bool = True


def find_causes(case: Case) -> list[Cause]:
    """List what is wrong, the likeliest cause of "I paid and have no access" first. Asks nobody; reads the case only."""
    causes = [*_of_the_user(case), *_of_the_configuration(case), *_of_the_events(case), *_of_the_subscriptions(case)]
    if not case.subscriptions:
        causes += _without_subscription(case)
    held = case.entitlement
    current = case.subscriptions[0] if case.subscriptions else None
    if current is not None and current.access.plan_active and not case.entitled.plan_active:
        causes.append(
            Cause(
                "The subscription gives access, and what the app is told does not. Reading it again mends that.", SYNC
            )
        )
    if held is not None and held.is_given:
        causes.append(
            Cause(f"The plan was given by hand ({held.plan or 'none'}); no subscription changes it.", GIVE, grave=False)
        )
    causes += [
        Cause(f"“{row.kind} {row.effect_key}” could not be carried out: {row.error[:200]}", EFFECT, str(row.pk))
        for row in case.effects
        if row.status == "dead"
    ]
    return causes


def _of_the_user(case: Case) -> list[Cause]:
    if case.end_user.banned_at is None and case.end_user.is_active:
        return []
    when = f" since {case.end_user.banned_at:%Y-%m-%d}" if case.end_user.banned_at else ""
    return [Cause(f"The user is banned{when}: every request of theirs is refused.", UNBAN)]


def _of_the_configuration(case: Case) -> list[Cause]:
    row = case.credentials
    if row is None or not row.secret_key_masked:
        return [Cause(f"The project has no {case.mode} keys: nothing of Stripe's reaches it in this mode.", KEYS)]
    if not row.config.is_active:
        return [Cause("Payments of this project are switched off; Stripe's events are refused.", KEYS)]
    if row.webhook_error:
        return [Cause(f"Webhook endpoint ({row.webhook_status}): {row.webhook_error[:300]}", KEYS)]
    return []


def _of_the_events(case: Case) -> list[Cause]:
    found = []
    for event in case.events:
        if event.status == "dead":
            found.append(Cause(f"{event.type} was given up: {event.error[:200]}", REPLAY, str(event.pk)))
        elif event.status in ("pending", "processing") and (event.error or event.wait_reason):
            why = event.error[:200] or event.wait_reason
            found.append(Cause(f"{event.type} waits and is tried again: {why}", REPLAY, str(event.pk)))
    return found


def _of_the_subscriptions(case: Case) -> list[Cause]:
    if not case.subscriptions:
        return []
    current = case.subscriptions[0]
    found = []
    if current.row.plan is None and current.row.status not in ENDED_STATUSES:
        text = (
            f"They pay the price {current.row.stripe_price_id or 'of another kind'}, which no plan of the project has."
        )
        found.append(Cause(text, PLAN_PRICES))
    if not current.access.plan_active:
        found.append(_why_no_access(case, current))
    return found


def _why_no_access(case: Case, held: HeldSubscription) -> Cause:
    row = held.row
    if row.access_revoked_at is not None:
        return Cause(f"Access was taken away on {row.access_revoked_at:%Y-%m-%d} by {row.access_revoked_by}.", REFUND)
    unpaid = next((one for one in case.invoices if one.status == "open"), None)
    if row.status in ("past_due", "unpaid"):
        ended = (
            f"; the grace ended on {held.access.plan_expires:%Y-%m-%d %H:%M} UTC" if held.access.plan_expires else ""
        )
        text = f"The last payment failed and the subscription is {row.status}{ended}. A card that works mends it."
        return Cause(text, INVOICE if unpaid else SYNC, str(unpaid.pk) if unpaid else "")
    if row.status in ("incomplete", "incomplete_expired"):
        return Cause("The first payment never went through: the card was declined or authentication was left open.",
                     INVOICE if unpaid else "", str(unpaid.pk) if unpaid else "")  # fmt: skip
    if row.status == "canceled":
        when = row.ended_at or row.canceled_at
        reason = f" ({row.cancellation_reason})" if row.cancellation_reason else ""
        return Cause(f"The subscription ended{f' on {when:%Y-%m-%d}' if when else ''}{reason}.", SYNC)
    return Cause(f"Its status is {row.status}, which the project's policy gives no access for.", SYNC)


def _without_subscription(case: Case) -> list[Cause]:
    found = []
    complete = next((one for one in case.sessions if one.status == "complete"), None)
    if complete is not None and complete.stripe_subscription_id:
        found.append(Cause("A checkout was completed and its subscription is not here: it was never read.", SYNC))
    elif any(one.status == "open" for one in case.sessions):
        found.append(Cause("A checkout is open and was not finished, as far as this service was told.", SYNC))
    elif any(one.status == "complete" and one.payment_status == "unpaid" for one in case.sessions):
        found.append(Cause("The money of a checkout is on its way: a delayed payment method.", SYNC, grave=False))
    if case.other_mode_subscriptions:
        other = "live" if case.mode == "test" else "test"
        found.append(Cause(f"They have a subscription in {other} mode, and none in this one.", OTHER_MODE))
    for namesake in case.namesakes:
        text = f"The same address belongs to another user of the app, {namesake.external_id}: perhaps that one paid."
        found.append(Cause(text, NAMESAKE, str(namesake.pk)))
    if not found and (case.customers or any(one.status in PAID for one in case.payments)):
        found.append(
            Cause(
                "Stripe knows them, and no subscription of theirs is here. Reading from Stripe shows what there is.",
                SYNC,
            )
        )
    return found
