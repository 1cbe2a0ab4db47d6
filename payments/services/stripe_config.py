"""A project's Stripe keys: checked, read against Stripe, encrypted, and never handed out again.

Invariants: Stripe is asked before and outside the transaction that saves; two changes of one project are saved one
after the other under the project's row lock, so that neither is lost; nothing is written when Stripe refuses a key or
is away. The webhook endpoint is seen to afterwards: trouble with it is a status, and the keys are saved all the same.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from accounts.models import User
from common import clock
from common.errors import FieldError, NotFound
from common.modes import MODES, Mode, mode_of
from moderation.services.action_log import log_action
from notifications.services.running import resume_waiting_rows
from payments.models import StripeConfig, StripeCredentials
from payments.secret_cache import forget_secrets
from payments.services.endpoint_creation import account_or_none, drop_endpoint
from payments.services.inbox import CONFIG_ERROR, resume_waiting_events
from payments.services.shared_webhook import is_used_by_another, lock_shared_address
from payments.services.webhook_endpoints import BY_HAND, check_endpoint, switch_off_endpoints
from payments.services.webhook_health import Health, read_health
from payments.services.webhook_secrets import current_secret, replace_webhook_secret, webhook_secret_fingerprint
from payments.stripe_api import StripeAccount, StripeKeyRejected, StripeNotConfigured, read_account
from projects.models import Project

KEY_FIELDS = ("secret_key", "publishable_key", "webhook_secret")
MAX_KEY_LENGTH = 255
KEY_REJECTED = "Stripe rejected this key: it is wrong, expired or revoked."
_PREFIXES = {
    "secret_key": ("sk_{mode}_", "rk_{mode}_"),
    "publishable_key": ("pk_{mode}_",),
    "webhook_secret": ("whsec_",),
}
_KEY_BODY = re.compile(r"[A-Za-z0-9_+/=\-]+")
_ACCOUNT_IN_MESSAGE = re.compile(r"\bacct_[A-Za-z0-9]{8,}\b")


class StripeConfigMissing(NotFound):
    """404: the project never had a Stripe configuration."""

    code = "stripe_not_configured"
    detail = "Stripe is not configured for this project."
    action = "configure_stripe"


class KeysRefused(FieldError):
    """422: one or more of the given keys are wrong; nothing was written."""

    def __init__(self, problems: Mapping[str, str], *, type: str = "value_error") -> None:
        super().__init__("body", *list(problems)[:1], msg=next(iter(problems.values())), type=type)
        self.errors = [{"loc": ["body", name], "msg": msg, "type": type} for name, msg in problems.items()]


@dataclass(frozen=True)
class StoredConfig:
    """A configuration as it is read: its row, its credentials per mode, and how each mode's events fare."""

    config: StripeConfig
    credentials: list[StripeCredentials]
    health: dict[str, Health]


@dataclass
class Abandoned:
    """Endpoints of ours that a change leaves behind, and the account that they are in."""

    account: StripeAccount | None
    endpoint_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What Stripe says about a key."""

    valid: bool
    message: str


def read_stripe_config(*, project: Project) -> StoredConfig | None:
    """Return a project's configuration, or None when it was never set. Three queries."""
    config = StripeConfig.objects.for_project(project).first()
    if config is None:
        return None
    credentials = list(StripeCredentials.objects.for_project(project))
    return StoredConfig(config, credentials, read_health(project_id=project.pk))


def put_stripe_config(
    *,
    project: Project,
    changes: Mapping[str, str | None],
    confirm_account_change: bool = False,
    actor: User | None = None,
    reason: str = "",
) -> StoredConfig:
    """Save the given keys (absent or None keeps), activate the configuration, log which were named, and return it.

    Raises: KeysRefused (422) naming each field, StripeUnavailable (503). Either way nothing was written.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    _check_shapes(given)
    accounts = {mode: _account_of_key(given, mode) for mode in MODES if f"{mode}_secret_key" in given}
    abandoned: list[Abandoned] = []
    with transaction.atomic():
        # The project's row orders the changes, also of a configuration that does not exist yet.
        locked = Project.objects.existing().select_for_update(no_key=True).filter(pk=project.pk).first()
        if locked is None:
            raise NotFound()
        was_active = _activate(locked)
        for mode in MODES:
            keys = {field: given[f"{mode}_{field}"] for field in KEY_FIELDS if f"{mode}_{field}" in given}
            if keys:
                row = _locked_credentials(locked, mode)
                left = Abandoned(account_or_none(row))
                if mode in accounts:
                    _keep_account(row, accounts[mode], left, confirmed=confirm_account_change)
                _save_keys(row, locked, keys, left)
                abandoned.append(left)
        log_action(
            action="stripe_config.keys_saved",
            subject=str(project.pk),
            actor=actor,
            reason=reason,
            project_id=project.pk,
            details={"fields": sorted(given)},
        )
    forget_secrets(project.pk)
    resume_waiting_events(project_id=project.pk)
    resume_waiting_rows(project_id=project.pk, reason=CONFIG_ERROR)
    _drop(abandoned)
    _see_to_endpoints(project, modes=MODES if not was_active else list(accounts))
    stored = read_stripe_config(project=project)
    if stored is None:
        raise NotFound()
    return stored


def deactivate_stripe_config(*, project: Project, actor: User | None = None, reason: str = "") -> None:
    """Stop taking payments and log it: history and keys stay, webhooks stop verifying. Raises StripeConfigMissing (404)."""
    with transaction.atomic():
        if not StripeConfig.objects.for_project(project).update(is_active=False, updated_at=clock.now()):
            raise StripeConfigMissing()
        log_action(
            action="stripe_config.deactivate",
            subject=str(project.pk),
            actor=actor,
            reason=reason,
            project_id=project.pk,
        )
    forget_secrets(project.pk)
    switch_off_endpoints(project=project)


def validate_credentials(*, secret_key: str, is_test_mode: bool) -> Verdict:
    """Ask Stripe once whether a key works, and store nothing. Raises StripeUnavailable (503)."""
    mode = mode_of(is_test_mode)
    problem = _shape_problem("secret_key", secret_key, mode)
    if problem:
        return Verdict(False, problem)
    try:
        account = read_account(secret_key)
    except StripeKeyRejected as error:
        if _is_restricted(secret_key) and error.http_status == 403:
            return Verdict(True, f"The restricted {mode} key works{_on_account(_account_in(error))}.")
        return Verdict(False, KEY_REJECTED)
    return Verdict(True, f"The {mode} key works{_on_account(str(account.get('id', '')))}.")


def problems_of_keys(given: Mapping[str, str]) -> dict[str, str]:
    """Say by field what is wrong with keys as far as their shape tells; Stripe is not asked."""
    problems = {}
    for name, value in given.items():
        mode, _, field = name.partition("_")
        problem = _shape_problem(field, value, mode)
        if problem:
            problems[name] = problem
    return problems


def _check_shapes(given: Mapping[str, str]) -> None:
    problems = problems_of_keys(given)
    if problems:
        raise KeysRefused(problems)


def _shape_problem(field: str, value: str, mode: str) -> str | None:
    prefixes = [prefix.format(mode=mode) for prefix in _PREFIXES[field]]
    expected = " or ".join(prefixes)
    if not value:
        return f"This must not be empty; leave it out to keep the stored value. It starts with {expected}."
    if len(value) > MAX_KEY_LENGTH:
        return f"This is longer than {MAX_KEY_LENGTH} characters."
    prefix = next((prefix for prefix in prefixes if value.startswith(prefix)), None)
    if prefix is None:
        other = "live" if mode == "test" else "test"
        wrong_mode = any(value.startswith(known.format(mode=other)) for known in _PREFIXES[field] if "{mode}" in known)
        if wrong_mode:
            return f"This is a {other} key, and a {mode} key is asked for."
        return f"This must start with {expected}."
    if not _KEY_BODY.fullmatch(value[len(prefix) :]):
        return "This holds characters that no key of Stripe has."
    return None


def _account_of_key(given: Mapping[str, str], mode: Mode) -> str:
    """Ask Stripe whose key this is; empty when a restricted key may not tell."""
    name = f"{mode}_secret_key"
    try:
        return str(read_account(given[name]).get("id", ""))
    except StripeKeyRejected as error:
        # No permission lets a restricted key read its own account; Stripe's refusal names the account all the same.
        # https://github.com/singer-io/tap-stripe/issues/38
        if _is_restricted(given[name]) and error.http_status == 403:
            return _account_in(error)
        raise KeysRefused({name: KEY_REJECTED}, type="key_rejected") from error


def _account_in(error: StripeKeyRejected) -> str:
    match = _ACCOUNT_IN_MESSAGE.search(error.user_message)
    return match.group() if match else ""


def _is_restricted(secret_key: str) -> bool:
    return secret_key.startswith("rk_")


def _on_account(account_id: str) -> str:
    return f" on account {account_id}" if account_id else ""


def _activate(project: Project) -> bool:
    """Make the configuration or switch it on again; tells whether it was on. The caller holds the project's row lock."""
    config, created = StripeConfig.objects.get_or_create(project=project)
    was_active = config.is_active and not created
    if not created:
        config.is_active = True
        config.updated_at = clock.now()
        config.save(update_fields=["is_active", "updated_at"])
    return was_active


def _locked_credentials(project: Project, mode: Mode) -> StripeCredentials:
    """Return one mode's row, new or stored. The caller holds the project's row lock."""
    # Locked itself too: a rotation of encryption keys that runs meanwhile must not be undone by this save.
    row = StripeCredentials.objects.for_project(project).filter(mode=mode).select_for_update(no_key=True).first()
    return row or StripeCredentials(config=project.stripe_config, project=project, mode=mode, version=0)


def _save_keys(row: StripeCredentials, project: Project, keys: Mapping[str, str], left: Abandoned) -> None:
    if "webhook_secret" in keys:
        _put_webhook_secret(row, project, keys["webhook_secret"], left)
    for name in ("secret_key", "publishable_key"):
        if name in keys:
            row.set_secret(name, keys[name])
    if row.webhook_secret and not row.webhook_endpoint_id:
        row.webhook_status = row.webhook_status or BY_HAND
    # What happened before the first saving causes nothing, what happened since then does: also when a key was replaced.
    row.followed_since = row.followed_since or row.configured_at or clock.now()
    row.configured_at = clock.now()
    row.version += 1
    row.save()


def _keep_account(row: StripeCredentials, account_id: str, left: Abandoned, *, confirmed: bool) -> None:
    known = row.stripe_account_id
    if known and account_id != known and not confirmed:
        found = f"account {account_id}" if account_id else "an account that it may not name"
        message = (
            f"This key belongs to {found}, and this project used {known} so far, where its customers and subscriptions "
            "are. Send confirm_account_change=true to change the account all the same."
        )
        raise KeysRefused({f"{row.mode}_secret_key": message}, type="account_changed")
    if known and account_id != known and row.webhook_endpoint_id:
        # Our endpoint is in the other account. What it has delivered and will still try verifies for another day.
        left.endpoint_ids += [row.webhook_endpoint_id, row.previous_webhook_endpoint_id]
        row.webhook_endpoint_id = row.previous_webhook_endpoint_id = row.webhook_status = ""
        replace_webhook_secret(row, "")
    if known and account_id != known:
        row.followed_since = clock.now()
        # Another account has another endpoint and other prices: what was checked was not this one.
        row.opened_at = row.probed_at = None
    row.stripe_account_id = account_id


def _put_webhook_secret(row: StripeCredentials, project: Project, secret: str, left: Abandoned) -> None:
    """Take a secret that was made by hand; the one before goes on verifying for a day, and so does our own endpoint's."""
    if project.shared_webhook:
        _refuse_shared_secret(row, project, webhook_secret_fingerprint(secret))
    if current_secret(row) == secret:
        return
    replace_webhook_secret(row, secret)
    if row.webhook_endpoint_id:
        left.endpoint_ids.append(row.previous_webhook_endpoint_id)
        row.previous_webhook_endpoint_id = row.webhook_endpoint_id
        row.webhook_endpoint_id = ""
    row.webhook_status, row.webhook_error = BY_HAND, ""


def _drop(abandoned: Iterable[Abandoned]) -> None:
    for left in abandoned:
        for endpoint_id in filter(None, left.endpoint_ids):
            if left.account is not None:
                drop_endpoint(left.account, endpoint_id)


def _see_to_endpoints(project: Project, *, modes: Iterable[str]) -> None:
    """Make or mend the endpoint of each mode that has a key and no signing secret of somebody's own."""
    for mode in modes:
        row = StripeCredentials.objects.for_project(project).filter(mode=mode).exclude(secret_key="").first()
        if row is not None and (row.webhook_endpoint_id or not row.webhook_secret):
            try:
                check_endpoint(project=project, mode=mode)
            except StripeNotConfigured:
                # Switched off again at the same moment.
                continue


def _refuse_shared_secret(row: StripeCredentials, project: Project, fingerprint: str) -> None:
    """Two projects on the shared webhook address must be told apart by which secret verifies."""
    lock_shared_address()
    if is_used_by_another(fingerprint=fingerprint, project=project, mode=row.mode):
        problem = "Another project on the shared webhook address uses this secret: give each its own endpoint."
        raise KeysRefused({f"{row.mode}_webhook_secret": problem}, type="secret_in_use")


def changes_of(data: Mapping[str, Any]) -> dict[str, str | None]:
    """Pick the six keys out of a request, whatever else it holds."""
    return {f"{mode}_{field}": data.get(f"{mode}_{field}") for mode in MODES for field in KEY_FIELDS}
