"""The ledger of credits: a wallet per end user and mode, its accounts, and transactions whose entries sum to zero.

Rows come and change through the functions behind `entitlements/services/ledger.py` only (docs/credits.md). Transactions and entries
are append-only: the database refuses to change or delete them, also by hand. Deleting a project only marks it, so its ledger stays.

Project keys of the tables that every spend writes have no constraint of their own: checking it would lock the project's row in
every transaction of all its users. The wallet's holds for all of them.
"""

from typing import Self

from django.db import models
from django.db.models import F, Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project, ProjectOwnedQuerySet

MODES = Q(mode__in=["test", "live"])


class Bucket(models.TextChoices):
    """What an end user can spend. Credits that expire sooner go first; among equals, in this order."""

    PLAN_DAILY = "plan_daily", "Daily credits of the plan"
    PLAN_PERIODIC = "plan_periodic", "Credits of the plan's period"
    BONUS = "bonus", "Bonus credits"
    PURCHASED = "purchased", "Purchased credits"


class Contra(models.TextChoices):
    """Where a wallet's credits come from and go to. Debt is what is owed, so it is never above zero."""

    RESERVED = "reserved", "Reserved"
    ISSUED = "issued", "Issued"
    SPENT = "spent", "Spent"
    EXPIRED = "expired", "Expired"
    DEBT = "debt", "Debt"


class LedgerQuerySet(ProjectOwnedQuerySet):
    """Rows of one project's ledger."""

    def in_mode(self, mode: str) -> Self:
        """Keep one mode's rows."""
        return self.filter(mode=mode)


class CreditWallet(models.Model):
    """One end user's credits in one mode. Its row is the lock that everything about these credits is written under."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="credit_wallets")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.PROTECT, related_name="credit_wallets")
    # How many transactions it has: the number of the latest one.
    transactions_count = models.BigIntegerField(default=0)
    # The UTC day that daily credits were last given for, and how many.
    daily_on = models.DateField(null=True, blank=True)
    daily_granted = models.BigIntegerField(default=0)
    # Nothing of it expires before this moment; null = nothing expires.
    next_due_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit wallet"
        permissions = [
            ("adjust_creditwallet", "Can adjust credits"),
            ("comp_without_limit", "Can give credits and free days beyond the moderators' limits"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user"], name="credit_wallet_once_per_user"),
            models.CheckConstraint(condition=MODES, name="credit_wallet_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.end_user_id} ({self.mode})"


class CreditAccount(models.Model):
    """One account of a wallet: a lot of credits in a bucket, or one of the accounts opposite to them.

    `balance` is the sum of its entries and `entries_count` their number.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="credit_accounts"
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    wallet = models.ForeignKey(CreditWallet, on_delete=models.PROTECT, db_index=False, related_name="accounts")
    kind = models.CharField(max_length=16, choices=[*Bucket.choices, *Contra.choices])
    # What tells the lots of a bucket apart; "" for an account of which a wallet has one.
    lot = models.CharField(max_length=400, blank=True)
    # What brought the credits, so that a refund of it takes them first.
    source = models.CharField(max_length=255, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    balance = models.BigIntegerField(default=0)
    entries_count = models.BigIntegerField(default=0)
    # A lot that has something left. Spending looks at these only, however many lots there were.
    is_open = models.GeneratedField(
        # The stubs do not know that a condition will do.
        expression=Q(kind__in=["plan_daily", "plan_periodic", "bonus", "purchased"], balance__gt=0),  # type: ignore[arg-type]
        output_field=models.BooleanField(),
        db_persist=True,
    )
    created_at = models.DateTimeField()

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit account"
        indexes = [models.Index(fields=["wallet"], condition=Q(is_open=True), name="credit_account_open")]
        constraints = [
            models.UniqueConstraint(fields=["wallet", "kind", "lot"], name="credit_account_once"),
            # More may be taken back than was ever issued, and what is missing is owed: the account of what was issued has any sign.
            models.CheckConstraint(
                condition=Q(kind="issued") | Q(kind="debt", balance__lte=0) | (~Q(kind="debt") & Q(balance__gte=0)),
                name="credit_account_sign",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[*Bucket.values, *Contra.values]), name="credit_account_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.lot}".strip()


class CreditTransaction(models.Model):
    """Something that happened to a wallet's credits, once per key. Times are business time."""

    class Kind(models.TextChoices):
        GRANT = "grant", "Granted"
        DAILY = "daily", "Daily credits"
        SPEND = "spend", "Spent"
        RESERVE = "reserve", "Reserved"
        COMMIT = "commit", "Reservation spent"
        RELEASE = "release", "Reservation released"
        RESERVATION_EXPIRED = "reservation_expired", "Reservation expired"
        EXPIRE = "expire", "Expired"
        CLAWBACK = "clawback", "Taken back"
        ADJUSTMENT = "adjustment", "Adjusted"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="credit_transactions"
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    wallet = models.ForeignKey(CreditWallet, on_delete=models.PROTECT, db_index=False, related_name="transactions")
    number = models.BigIntegerField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    key = models.CharField(max_length=400)
    # A digest of what was asked for with the key: another request with it is refused.
    fingerprint = models.CharField(max_length=64)
    # By how much what can be spent went up or down, and what could be spent then.
    amount = models.BigIntegerField()
    available_after = models.BigIntegerField()
    source = models.CharField(max_length=255, blank=True)
    actor = models.CharField(max_length=255, blank=True)
    description = models.CharField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict)
    # What a repeat of the request is answered with, besides the columns.
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit transaction"
        indexes = [models.Index(fields=["wallet", "-created_at", "-id"], name="credit_transaction_newest")]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "key"], name="credit_transaction_once"),
            models.UniqueConstraint(fields=["wallet", "number"], name="credit_transaction_numbered"),
            models.CheckConstraint(condition=Q(available_after__gte=0), name="credit_available_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount:+d}"


class CreditEntry(models.Model):
    """One line of a transaction: what it did to one account. The lines of a transaction sum to zero."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="credit_entries"
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    transaction = models.ForeignKey(CreditTransaction, on_delete=models.PROTECT, related_name="entries")
    account = models.ForeignKey(CreditAccount, on_delete=models.PROTECT, db_index=False, related_name="entries")
    # Counts the account's entries without a gap.
    number = models.BigIntegerField()
    amount = models.BigIntegerField()
    balance_after = models.BigIntegerField()

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit entry"
        verbose_name_plural = "Credit entries"
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="credit_entry_numbered"),
            models.CheckConstraint(condition=~Q(amount=0), name="credit_entry_moves_something"),
        ]

    def __str__(self) -> str:
        return f"{self.amount:+d}"


class CreditReservation(models.Model):
    """Credits that are set aside until they are spent or given back, at the latest when the time is over."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        COMMITTED = "committed", "Spent"
        RELEASED = "released", "Released"
        EXPIRED = "expired", "Expired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="credit_reservations"
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    wallet = models.ForeignKey(CreditWallet, on_delete=models.PROTECT, db_index=False, related_name="reservations")
    # The lots that it was taken from, in the order in which they are spent: [{"kind", "lot", "amount", "expires_at"}].
    parts = models.JSONField()
    # Who set them aside, as its transaction says. What a server set aside is not the user's to finish.
    actor = models.CharField(max_length=255, blank=True, default="", db_default="")
    amount = models.BigIntegerField()
    committed = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit reservation"
        indexes = [
            models.Index(fields=["wallet", "expires_at"], condition=Q(state="open"), name="credit_reservation_open"),
            models.Index(fields=["expires_at"], condition=Q(state="open"), name="credit_reservation_due"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0, committed__gte=0, committed__lte=F("amount")),
                name="credit_reservation_amounts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} ({self.state})"


class CreditPolicy(models.Model):
    """A project's choices about credits, for both modes. A project without a row has the defaults."""

    class Shortfall(models.TextChoices):
        DEBT = "debt", "Owe it: later bonus and purchased credits settle it first"
        FLOOR = "floor", "Let it go: take back what is left and no more"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="credit_policy")
    # What happens when a refund takes back more than is left.
    shortfall = models.CharField(max_length=8, choices=Shortfall.choices, default=Shortfall.DEBT)
    # Credits are low when a spend leaves fewer than this, daily ones aside; 0 = nobody is told.
    low_at = models.PositiveIntegerField(default=5)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Credit policy"
        verbose_name_plural = "Credit policies"
        constraints = [models.CheckConstraint(condition=Q(shortfall__in=["debt", "floor"]), name="credit_policy_known")]

    def __str__(self) -> str:
        return f"Credit policy of {self.project}"
