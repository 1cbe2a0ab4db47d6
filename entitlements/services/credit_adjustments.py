"""Credits that somebody gives or takes by hand, with a reason, in the action log."""

from collections.abc import Sequence
from typing import Unpack

from django.db import transaction

from accounts.models import User
from common.errors import FieldError
from entitlements.models import CreditPolicy
from entitlements.services import ledger
from entitlements.services.ledger import AMOUNT_MAX, Posted, Wallet
from moderation.services.action_log import log_action
from moderation.services.limits import CREDITS, check_credit_limit

REASON_CHARS_MAX = 500


def adjust_credits(*, amount: int, reason: str, actor: User, key: str, **wallet: Unpack[Wallet]) -> Posted:
    """Give bonus credits (amount above zero) or take credits away (below), once per key, and write down who did it and why.

    Raises: FieldError (422) without a reason or amount, BeyondLimit (403), InsufficientCredits (402), KeyReused (409).
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"Say why, in 1 to {REASON_CHARS_MAX} characters.")
    if amount == 0 or abs(amount) > AMOUNT_MAX:
        raise FieldError("body", "amount", msg=f"Give a whole number from 1 to {AMOUNT_MAX}, or the same below zero.")
    with transaction.atomic():
        posted = ledger.move_by_hand(**wallet, amount=amount, reason=reason.strip(), actor=actor.email, key=key)
        if not posted.replayed:
            check_credit_limit(actor=actor, project_id=wallet["project_id"], amount=amount)
            log_action(
                action=CREDITS,
                subject=f"credits:{wallet['end_user_id']}",
                actor=actor,
                reason=reason.strip(),
                project_id=wallet["project_id"],
                mode=wallet["mode"],
                details={"amount": amount, "transaction_id": str(posted.transaction_id), "available": posted.available},
            )
    return posted


def log_policy_change(*, policy: CreditPolicy, actor: User, changed: Sequence[str]) -> None:
    """Write down who changed what of a project's policy on credits. Call in the transaction of the change."""
    names = [name for name in changed if name != "project"]
    if names:
        log_action(
            action="credit_policy.changed",
            subject=f"project:{policy.project_id}",
            actor=actor,
            project_id=policy.project_id,
            details={name: getattr(policy, name) for name in names},
        )
