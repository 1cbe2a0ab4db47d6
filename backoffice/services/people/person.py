"""Everything in our tables by which one end user's rows are found, and the words that identify them."""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from licenses.models import License, LicenseSeat
from payments.models import (
    CheckoutSession,
    Dispute,
    Invoice,
    LicensePurchase,
    Refund,
    StripeCustomer,
    Subscription,
    Transaction,
)
from projects.models import EndUser

# A shorter word would be found in what has nothing to do with the person.
WORD_CHARS_MIN = 4
EXTERNAL_ID_CHARS_MIN = 8
# Where a word begins; in a document also after a line's end, which is written there by a letter.
_BEGINS = r"\m"
_BEGINS_IN_JSON = r"(?:\m|\\[bfnrt])"
_PHONE = re.compile(r"\+\d[\d().-]{6,}")


@dataclass(frozen=True)
class Person:
    """An end user with the ids of what is theirs at Stripe, and `words`: addresses, names and usernames, never empty ones.

    `telling_words` are those of them that are no word of anybody else's.
    """

    end_user: EndUser
    customer_ids: list[str]
    stripe_ids: list[str]
    license_ids: list[uuid.UUID]
    subscription_ids: list[uuid.UUID]
    words: list[str] = field(repr=False)
    telling_words: list[str] = field(repr=False)

    @property
    def project_id(self) -> uuid.UUID:
        """Whose end user it is."""
        return self.end_user.project_id

    @property
    def pattern(self) -> str:
        """A pattern of PostgreSQL's that finds any of the words, "" when there is none."""
        return _pattern(self.words)

    @property
    def pattern_in_json(self) -> str:
        """The same for a document as PostgreSQL writes it."""
        return _pattern([_in_json(word) for word in self.words], _BEGINS_IN_JSON)

    @property
    def telling_pattern(self) -> str:
        """A pattern that finds the words that are nobody else's, "" when there is none."""
        return _pattern(self.telling_words)

    @property
    def telling_pattern_in_json(self) -> str:
        """The same for a document as PostgreSQL writes it."""
        return _pattern([_in_json(word) for word in self.telling_words], _BEGINS_IN_JSON)

    @property
    def ids(self) -> list[str]:
        """Every id by which a row says that it is about the person."""
        return [*self.stripe_ids, str(self.end_user.pk), *map(str, [*self.license_ids, *self.subscription_ids])]


def read_person(end_user: EndUser) -> Person:
    """Gather what leads to a person's rows. Bounded by what one person has."""
    mine = {"project": end_user.project_id, "end_user": end_user.pk}
    customers = list(StripeCustomer.objects.filter(**mine))
    emails = {end_user.email or "", *(one.email for one in customers)} - {""}
    theirs = Q(end_user=end_user.pk)
    if end_user.email:
        # A guest's, when the app vouches for the address. One that a buyer typed at Stripe may be anybody's.
        theirs |= Q(end_user=None, email__iexact=end_user.email)
    licenses = list(License.objects.for_project(end_user.project_id).filter(theirs))
    seats = LicenseSeat.objects.for_project(end_user.project_id).filter(license__in=licenses)
    words = [
        *emails,
        *(one.email for one in licenses),
        *(one.username for one in licenses),
        *seats.values_list("login", flat=True),
        *(one.name for one in customers),
        *(str((one.billing or {}).get("phone") or "") for one in customers),
    ]
    is_told = "@" in end_user.external_id or len(end_user.external_id) >= EXTERNAL_ID_CHARS_MIN
    if is_told and end_user.anonymised_at is None:
        words.append(end_user.external_id)
    # Longer ones first: an address that begins with a username is replaced as a whole.
    words = sorted(
        {word.strip() for word in words if len(word.strip()) >= WORD_CHARS_MIN}, key=lambda word: (-len(word), word)
    )
    customer_ids = [one.stripe_customer_id for one in customers if one.stripe_customer_id]
    return Person(
        end_user=end_user,
        customer_ids=customer_ids,
        stripe_ids=sorted({*customer_ids, *_stripe_ids(mine, licenses)} - {""}),
        license_ids=[one.pk for one in licenses],
        subscription_ids=list(Subscription.objects.filter(**mine).values_list("pk", flat=True)),
        words=words,
        telling_words=[word for word in words if _tells(word, end_user)],
    )


def _stripe_ids(mine: dict[str, Any], licenses: list[License]) -> set[str]:
    found: set[str] = set()
    payments = Transaction.objects.filter(**mine)
    for ids in payments.values_list("payment_intent_id", "stripe_charge_id", "stripe_invoice_id"):
        found.update(ids)
    found.update(Subscription.objects.filter(**mine).values_list("stripe_subscription_id", flat=True))
    found.update(Invoice.objects.filter(**mine).values_list("stripe_invoice_id", flat=True))
    found.update(CheckoutSession.objects.filter(**mine).values_list("stripe_session_id", flat=True))
    found.update(Refund.objects.filter(transaction__in=payments).values_list("stripe_refund_id", flat=True))
    found.update(Dispute.objects.filter(transaction__in=payments).values_list("stripe_dispute_id", flat=True))
    found.update(LicensePurchase.objects.filter(**mine).values_list("stripe_session_id", flat=True))
    for one in licenses:
        found.update((one.stripe_session_id or "", one.payment_intent_id or ""))
    return {one or "" for one in found}


def _tells(word: str, end_user: EndUser) -> bool:
    """Say whether a word is nobody else's: an address, a name of several words, a phone number, an id with digits.

    A buyer types their name at Stripe, and picks a username at GitHub: one word of theirs may be any word of ours.
    """
    if "@" in word or any(char.isspace() for char in word) or _PHONE.fullmatch(word):
        return True
    return word == end_user.external_id and any(char.isdigit() for char in word)


def _pattern(words: list[str], begins: str = _BEGINS) -> str:
    return "|".join(_whole(word, begins) for word in words)


def _in_json(word: str) -> str:
    return json.dumps(word, ensure_ascii=False)[1:-1]


def _whole(word: str, begins: str) -> str:
    """Write a pattern that finds a word, and not the same letters within another."""
    return rf"{begins}{_escaped(word)}\M" if word[0].isalnum() and word[-1].isalnum() else _escaped(word)


def _escaped(word: str) -> str:
    """Escape a word for PostgreSQL's regular expressions, whose special characters are Python's."""
    return re.sub(r"([^\w\s])", r"\\\1", word)
