"""What the pages say when something is refused. The API's own words are for whoever writes an app."""

from common.errors import ApiError, FieldError

SENTENCES = {
    "already_subscribed": "You have a plan already. Change it here, or pay what is open first.",
    "trial_used": "You have had your free trial already, so nothing was started. You can choose the plan without one.",
    "trial_not_available": "This plan has no free trial any more, so nothing was started.",
    "promo_code_not_found": "There is no such promotion code.",
    "promo_code_not_applicable": "This promotion code cannot be used for this plan.",
    "price_not_found": "This plan is not on sale any more.",
    "price_does_not_fit": "You cannot move to this price from what you have now. Ask the seller.",
    "no_subscription": "You have no plan that could be changed.",
    "no_next_invoice": "Your plan ends with this period. Keep it first, then change it.",
    "several_items": "Your plan has several parts. Change it with the billing portal.",
    "no_customer": "You have not bought anything yet.",
    "stripe_not_configured": "Payments are not switched on here yet. Nothing was charged.",
    "live_not_open": "Payments are not switched on here yet. Nothing was charged.",
    "bad_proration_date": "A new billing period has begun since you looked. This is what the change costs now.",
    "in_progress": "This is being worked on already. Look at your account in a moment.",
    "credit_pack_not_found": "These credits are not on sale any more.",
}
UNAVAILABLE = (
    "The payment provider does not answer. Look at your account before you try again, so that nothing is done twice."
)
ELSE = "This could not be done. Look at your account, and try again in a moment."


def sentence_of(error: ApiError) -> str:
    """Say a refusal to whoever is at the pages."""
    if error.code in SENTENCES:
        return SENTENCES[error.code]
    if error.code == "promo_code_expired":
        return error.detail.removeprefix("promo_code: ").capitalize()
    if error.status_code in (402, 409) or error.code == "rate_limited":
        # A card's own words, and what changed meanwhile.
        return error.detail
    if isinstance(error, FieldError):
        return str(error.errors[0]["msg"])
    return UNAVAILABLE if error.status_code in (502, 503) else ELSE


def is_about_promotion_code(error: ApiError) -> bool:
    """Say whether a refusal belongs to the field of the promotion code."""
    return error.code.startswith("promo_code")
