"""Licences: what somebody bought for good, how far its access has come, and the seat that it holds at GitHub.

Invariants: one licence per payment and per checkout session; a licence moves only by the transitions below, each stamped, and two
that move the same one at once cannot both (ConcurrentTransition); a seat is written before GitHub is asked to invite, so that
whoever is to go again is known whatever dies in between.
"""

import datetime as dt
import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper
from django_fsm import ConcurrentTransitionMixin, FSMField, transition

from common.ids import uuid7
from common.modes import MODE_CHOICES
from licenses.models.products import LicenseProduct
from projects.models import EndUser, Project, ProjectOwnedQuerySet

STUCK_PENDING_AFTER = dt.timedelta(hours=24)
STUCK_SUBMITTED_AFTER = dt.timedelta(hours=24)
STUCK_INVITED_AFTER = dt.timedelta(days=7)


class LicenseState(models.TextChoices):
    """How far the access has come."""

    PENDING = "pending", "Waits for a GitHub username"
    USERNAME_SUBMITTED = "username_submitted", "Is being invited"
    INVITED = "invited", "Invitation sent"
    ACTIVE = "active", "Access granted"
    REVOKED = "revoked", "Revoked"


State = LicenseState
# Those that somebody holds.
ENTITLED_STATES = (State.PENDING, State.USERNAME_SUBMITTED, State.INVITED, State.ACTIVE)
# Those in which somebody is, or is about to be, in the team.
SEATED_STATES = (State.USERNAME_SUBMITTED, State.INVITED, State.ACTIVE)


class LicenseQuerySet(models.QuerySet["License"]):
    def for_project(self, project: Project | uuid.UUID) -> "LicenseQuerySet":
        """Keep one project's licences."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "LicenseQuerySet":
        """Keep one mode's licences."""
        return self.filter(mode=mode)

    def stuck(self, at: dt.datetime) -> "LicenseQuerySet":
        """Keep those that wait too long: for a username or to be invited over 24 hours, to be accepted over 7 days."""
        return self.filter(project__is_active=True, project__deleted_at=None).filter(
            Q(state=State.PENDING, purchased_at__lt=at - STUCK_PENDING_AFTER)
            | Q(state=State.USERNAME_SUBMITTED, username_submitted_at__lt=at - STUCK_SUBMITTED_AFTER)
            | Q(state=State.INVITED, first_invited_at__lt=at - STUCK_INVITED_AFTER)
        )


class License(ConcurrentTransitionMixin, models.Model):
    """One licence. Its id is that of the purchase, so that a link to it can be made before it is paid.

    Units: `amount_cents` is what was paid, minor units of `currency`.
    """

    class InvitationEnd(models.TextChoices):
        """Why an invitation is not open any more."""

        EXPIRED = "expired", "Expired"
        DECLINED = "declined", "Declined or withdrawn"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="licenses")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    product = models.ForeignKey(LicenseProduct, on_delete=models.PROTECT, related_name="licenses")
    # A guest's licence has none.
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="licenses")
    email = models.CharField(max_length=512, blank=True)
    stripe_session_id = models.CharField(max_length=255)
    # "" when nothing had to be paid.
    payment_intent_id = models.CharField(max_length=255, blank=True, default="")
    amount_cents = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)

    state = FSMField(max_length=32, choices=State.choices, default=State.PENDING, protected=True)
    # Each username that is asked for is another revision; what comes late for an earlier one changes nothing.
    revision = models.PositiveIntegerField(default=0)
    # As the buyer wrote it, then GitHub's own: the id stays when somebody is renamed.
    username = models.CharField(max_length=100, blank=True, default="")
    github_user_id = models.BigIntegerField(null=True, blank=True)
    # What was wrong with the username that was given last.
    username_problem = models.CharField(max_length=64, blank=True, default="")
    # Until when GitHub takes no invitation.
    delayed_until = models.DateTimeField(null=True, blank=True)
    invitation_ended_as = models.CharField(max_length=16, choices=InvitationEnd.choices, blank=True, default="")
    invitation_ended_at = models.DateTimeField(null=True, blank=True)

    purchased_at = models.DateTimeField()
    username_submitted_at = models.DateTimeField(null=True, blank=True)
    username_submitted_by = models.CharField(max_length=255, blank=True, default="")
    # Of the person who is meant now, since they were last let in: another one's way begins anew.
    first_invited_at = models.DateTimeField(null=True, blank=True)
    invited_at = models.DateTimeField(null=True, blank=True)
    invited_by = models.CharField(max_length=255, blank=True, default="")
    activated_at = models.DateTimeField(null=True, blank=True)
    activated_by = models.CharField(max_length=255, blank=True, default="")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=255, blank=True, default="")
    # A refund's or dispute's id; "staff" for what a person decided, which no bank undoes.
    revoked_because = models.CharField(max_length=255, blank=True, default="")
    # The refunds and disputes that take it, as far as is known, and those of them in spite of which staff gave it back.
    taken_by = ArrayField(models.CharField(max_length=255), default=list, db_default=[], blank=True, editable=False)
    overruled = ArrayField(models.CharField(max_length=255), default=list, db_default=[], blank=True, editable=False)

    # Only after the mail server took the mail.
    welcome_sent_at = models.DateTimeField(null=True, blank=True)
    invitation_mail_sent_at = models.DateTimeField(null=True, blank=True)
    access_mail_sent_at = models.DateTimeField(null=True, blank=True)

    # The SHA-256 of the licence key and its last characters; the key itself is shown once.
    key_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    key_ending = models.CharField(max_length=8, blank=True, default="", editable=False)
    key_made_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = LicenseQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence"
        permissions = [
            ("act_on_license", "Can revoke licences, give them back and change who they let in"),
            ("reinvite_license", "Can invite the holders of licences again"),
            ("resend_license_mail", "Can send the mails of a licence again"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_session_id"], name="license_once_per_session"),
            models.UniqueConstraint(
                fields=["project", "mode", "payment_intent_id"],
                condition=~Q(payment_intent_id=""),
                name="license_once_per_payment",
            ),
            models.UniqueConstraint(fields=["key_hash"], condition=~Q(key_hash=""), name="license_key_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_mode"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="license_state_known"),
            models.CheckConstraint(
                condition=~Q(state=State.USERNAME_SUBMITTED)
                | (~Q(username="") & Q(username_submitted_at__isnull=False)),
                name="license_submitted_stamped",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.INVITED) | Q(github_user_id__isnull=False, invited_at__isnull=False),
                name="license_invited_stamped",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.ACTIVE) | Q(github_user_id__isnull=False, activated_at__isnull=False),
                name="license_active_stamped",
            ),
            models.CheckConstraint(
                condition=Q(state=State.REVOKED, revoked_at__isnull=False) & ~Q(revoked_because="")
                | ~Q(state=State.REVOKED) & Q(revoked_at__isnull=True),
                name="license_revoked_stamped",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-purchased_at", "-id"], name="license_list"),
            models.Index(fields=["project", "mode", "github_user_id"], name="license_of_github_user"),
            models.Index(fields=["end_user", "-purchased_at"], name="license_of_end_user"),
            # The search of staff over all projects: by the beginning, whatever the case.
            models.Index(OpClass(Upper("email"), "text_pattern_ops"), name="license_email_begins"),
            models.Index(OpClass(Upper("username"), "text_pattern_ops"), name="license_username_begins"),
            models.Index(
                fields=["state", "purchased_at"], condition=Q(state__in=["pending", "invited"]), name="license_stuck"
            ),
            models.Index(
                fields=["username_submitted_at"],
                condition=Q(state="username_submitted"),
                name="license_stuck_submitted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} {self.email} ({self.state})"

    @transition(state, source=[State.PENDING, State.USERNAME_SUBMITTED, State.INVITED, State.ACTIVE],
                target=State.USERNAME_SUBMITTED)  # fmt: skip
    def take_username(self, *, username: str, at: dt.datetime, by: str) -> None:
        """Ask for a username to be let in: the buyer's first one, another one, or the same invited again."""
        if username.casefold() != self.username.casefold() or self.activated_at is not None:
            self.first_invited_at = None
        self.username, self.github_user_id, self.username_problem = username, None, ""
        self.username_submitted_at, self.username_submitted_by = at, by
        self.invited_at = self.activated_at = self.delayed_until = self.invitation_ended_at = None
        self.invited_by = self.activated_by = self.invitation_ended_as = ""
        self.revision += 1

    @transition(state, source=State.USERNAME_SUBMITTED, target=State.PENDING)
    def refuse_username(self, *, problem: str, by: str) -> None:
        """Ask the buyer for another username: GitHub does not know this one as a person."""
        self.username_problem, self.github_user_id, self.delayed_until = problem, None, None

    @transition(state, source=State.USERNAME_SUBMITTED, target=State.INVITED)
    def note_invited(self, *, at: dt.datetime, by: str) -> None:
        """Note that GitHub has invited them."""
        self.invited_at, self.invited_by, self.delayed_until = at, by, None
        self.first_invited_at = self.first_invited_at or at

    @transition(state, source=[State.USERNAME_SUBMITTED, State.INVITED], target=State.ACTIVE)
    def note_member(self, *, at: dt.datetime, by: str) -> None:
        """Note that they are in the team: the invitation was accepted, or they were in before."""
        self.activated_at, self.activated_by, self.delayed_until = at, by, None
        self.invitation_ended_at, self.invitation_ended_as = None, ""

    @transition(state, source=[State.PENDING, State.USERNAME_SUBMITTED, State.INVITED, State.ACTIVE],
                target=State.REVOKED)  # fmt: skip
    def take_back(self, *, at: dt.datetime, by: str, because: str) -> None:
        """Take the licence away."""
        self.revoked_at, self.revoked_by, self.revoked_because, self.delayed_until = at, by, because[:255], None

    @transition(state, source=State.REVOKED, target=State.PENDING)
    def give_back(self, *, by: str) -> None:
        """Give it back: the refund failed, the dispute was won, or staff decided so."""
        self.revoked_at, self.revoked_by, self.revoked_because = None, "", ""
        self.github_user_id, self.username_problem = None, ""


class LicenseSeat(models.Model):
    """Whom a licence has had invited, at which organisation and team. Of a licence, the seat of its revision is wanted."""

    class Outcome(models.TextChoices):
        """What came of an invitation."""

        JOINED = "joined", "Let in"
        ENDED = "ended", "Came to nothing"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_seats")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    license = models.ForeignKey(License, on_delete=models.CASCADE, related_name="seats")
    revision = models.PositiveIntegerField()
    github_user_id = models.BigIntegerField()
    login = models.CharField(max_length=100)
    organization = models.CharField(max_length=100)
    team_slug = models.CharField(max_length=255)
    # In the organisation before any licence let them in: whoever loses the licence leaves the team, and stays in the organisation.
    was_member = models.BooleanField(default=False, db_default=False)
    # In the team before any licence let them in: nothing of it is the licence's to take.
    was_in_team = models.BooleanField(default=False, db_default=False)
    # What came of the invitation; "" while that is not known.
    outcome = models.CharField(max_length=8, choices=Outcome.choices, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())
    # When GitHub was last asked, or about to be asked, to let them in.
    asked_at = models.DateTimeField(db_default=Now())
    # When GitHub is asked next whether the invitation was accepted.
    next_check_at = models.DateTimeField(null=True, blank=True)
    # When the buyer last asked for that, and when the round began whose answer was that it is not accepted yet.
    check_asked_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    # When both of GitHub's answers said that they are out, or that nothing was to be removed.
    removed_at = models.DateTimeField(null=True, blank=True)
    removal_note = models.CharField(max_length=255, blank=True, default="")

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence seat"
        constraints = [
            models.UniqueConstraint(fields=["license", "revision"], name="license_seat_once_per_revision"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_seat_mode"),
        ]
        indexes = [
            models.Index(
                fields=["next_check_at"],
                condition=Q(next_check_at__isnull=False, removed_at__isnull=True),
                name="license_seat_due",
            ),
            # Projects may share an organisation, so who holds a place there is looked for in all of them.
            models.Index(fields=["github_user_id"], name="license_seat_of_user"),
        ]

    def __str__(self) -> str:
        return f"{self.login} in {self.organization}/{self.team_slug}"


class LicenseChange(models.Model):
    """One line of a licence's history: which transition, from where to where, when and by whom. Never changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_changes")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    license = models.ForeignKey(License, on_delete=models.CASCADE, related_name="changes")
    change = models.CharField(max_length=32)
    before = models.CharField(max_length=32, blank=True)
    after = models.CharField(max_length=32)
    by = models.CharField(max_length=255)
    note = models.CharField(max_length=1000, blank=True, default="")
    at = models.DateTimeField()

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence history"
        verbose_name_plural = "Licence history"
        indexes = [models.Index(fields=["license", "at", "id"], name="license_change_of_license")]
        constraints = [models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_change_mode")]

    def __str__(self) -> str:
        return f"{self.change}: {self.before} → {self.after}"


class LicenseActivation(models.Model):
    """A device on which a licence key is in use. The device's own id is kept as its SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_activations")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    license = models.ForeignKey(License, on_delete=models.CASCADE, related_name="activations")
    device_hash = models.CharField(max_length=64)
    device_name = models.CharField(max_length=255, blank=True, default="")
    activated_at = models.DateTimeField(db_default=Now())

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence activation"
        constraints = [
            models.UniqueConstraint(fields=["license", "device_hash"], name="license_activation_once_per_device"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_activation_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.license_id} {self.device_name}"
