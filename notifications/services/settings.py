"""What a project sets about its mails and alerts, for the API and for the admin's forms.

Invariant: whoever writes it, what could not stand in a mail, never opens or ends an incident, or leads inside the network is
refused, and nothing of the same request is written.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q

from accounts.models import User
from common.errors import FieldError
from common.outgoing import check_before_saving
from notifications.models import AlertKind, AlertRule, AlertTarget, Brand
from notifications.services.alert_rules import DEFAULT_RULES, Rule, Rules
from notifications.services.brand import FIELDS, problem_of, senders_of
from notifications.services.changes import changed_values, host_of, log_change
from notifications.services.endpoints import NO_FRAGMENT
from projects.models import Project

ADDRESSES_MAX = 20
FIGURES = ("threshold", "recovers_at", "window_minutes", "calm_minutes")
FIGURE_MAX = 2_000_000_000
MINUTES_MAX = {"window_minutes": 7 * 1440, "calm_minutes": 1440}
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
BRAND_SAVED, ALERTS_SAVED = "mail_brand.save", "alert_settings.save"
WHY_HTTPS = "Use https: an alert says how a business is doing."


def put_brand(*, project: Project, fields: Mapping[str, str], actor: User) -> Brand:
    """Set how a project's mails are signed and look; what is left out or "" is the default again. Raises FieldError (422)."""
    wanted = {name: str(fields.get(name) or "") for name in FIELDS}
    wanted["color"] = wanted["color"].lower()
    with transaction.atomic():
        _hold(project)
        row = Brand.objects.for_project(project).first() or Brand(project=project)
        senders = senders_of(project, staff_chose=row.staff_from_address)
        for name, value in wanted.items():
            problem = problem_of(name, value, senders) if value else ""
            if problem:
                raise FieldError("body", name, msg=problem)
        changed = changed_values(values_of_brand(row), wanted)
        saved: Brand = Brand.objects.update_or_create(project=project, defaults=wanted)[0]
        if changed:
            log_change(action=BRAND_SAVED, subject=saved.pk, actor=actor, project_id=project.pk, changed=changed)
    return saved


def rules_of(project: Project) -> dict[AlertKind, tuple[Rule, bool]]:
    """Return the rule that holds for each kind, and whether it is the project's own. One query."""
    rows = list(AlertRule.objects.filter(Q(project=project) | Q(project=None)))
    own = {row.kind for row in rows if row.project_id is not None}
    return {
        kind: (Rules(kind, [row for row in rows if row.kind == kind]).of(project.pk), kind in own) for kind in AlertKind
    }


def put_alert_settings(*, project: Project, settings: Mapping[str, Any], actor: User) -> AlertTarget | None:
    """Replace a project's own rules and recipients. A secret that is left out or null is kept while there is a listener.

    Raises FieldError (422).
    """
    rules = _checked_rules(settings.get("rules") or [])
    addresses = checked_addresses(settings.get("mail_to") or [])
    url, secret = settings.get("webhook_url") or "", settings.get("webhook_secret") or ""
    check_listener(url, whose=str(project.pk))
    if secret and (problem := problem_of_secret(secret)):
        raise FieldError("body", "webhook_secret", msg=problem)
    with transaction.atomic():
        # Whoever else saves waits here: rules and recipients are of one request.
        _hold(project)
        target = AlertTarget.objects.for_project(project).first() or AlertTarget(project=project)
        if url and not (secret or target.webhook_secret):
            raise FieldError("body", "webhook_secret", msg="A listener needs a secret to check our signature with.")
        before, listened_at = _alert_values(project, target), target.webhook_url
        AlertRule.objects.for_project(project).exclude(kind__in=rules).delete()
        for kind, rule in rules.items():
            AlertRule.objects.update_or_create(project=project, kind=kind, defaults=asdict(rule))
        target.mail_to, target.webhook_url = addresses, url
        if secret or not url:
            target.set_webhook_secret(secret if url else "")
        if addresses or url:
            target.save()
        elif not target._state.adding:
            AlertTarget.objects.for_project(project).delete()
        changed = changed_values(before, _alert_values(project, target))
        if changed or secret or listened_at != url:
            log_change(
                action=ALERTS_SAVED,
                subject=project.pk,
                actor=actor,
                project_id=project.pk,
                changed=changed,
                new_listener=listened_at != url,
                new_secret=bool(secret),
            )
    return target if addresses or url else None


def values_of_brand(row: Brand) -> dict[str, Any]:
    """Return what a brand says, for whoever writes changes down."""
    return {name: getattr(row, name) for name in FIELDS}


def values_of_rule(row: AlertRule) -> dict[str, Any]:
    """Return what a rule says, for whoever writes changes down."""
    return {name: getattr(row, name) for name in ("kind", "is_enabled", *FIGURES)}


def values_of_target(row: AlertTarget) -> dict[str, Any]:
    """Return who is told of alerts, for whoever writes changes down: of the listener its host."""
    return {"mail_to": list(row.mail_to), "listener": host_of(row.webhook_url)}


def problems_of_figures(figures: Mapping[str, int | None]) -> dict[str, str]:
    """Say by field what is wrong with a rule's figures: one that could never open, or never end."""
    found = {}
    threshold, recovers_at = figures.get("threshold"), figures.get("recovers_at")
    if threshold is not None and recovers_at is not None and recovers_at >= threshold:
        found["recovers_at"] = "It must be below the threshold."
    for name, at_most in MINUTES_MAX.items():
        value = figures.get(name)
        if value is not None and not 1 <= value <= at_most:
            found[name] = f"From 1 to {at_most} minutes."
    return found


def checked_addresses(given: Sequence[str], *, field: str = "mail_to") -> list[str]:
    """Return the addresses that alerts are mailed to, each once. Raises FieldError (422)."""
    addresses = list(dict.fromkeys(given))
    if len(addresses) > ADDRESSES_MAX:
        raise FieldError("body", field, msg=f"At most {ADDRESSES_MAX} addresses.")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise FieldError("body", field, msg="Give e-mail addresses.") from None
    return addresses


def check_listener(url: str, *, whose: str) -> None:
    """Refuse an address that may not be called, or that is not public now. Raises FieldError (422)."""
    if url:
        leave_out = {"fragment": NO_FRAGMENT}
        check_before_saving(url, field="webhook_url", whose=whose, why_https=WHY_HTTPS, leave_out=leave_out)


def problem_of_secret(secret: str) -> str:
    """Say what is wrong with a signing secret of the standard's form, without repeating it; "" when nothing is."""
    try:
        length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if SECRET_BYTES_MIN <= length <= SECRET_BYTES_MAX and secret.startswith("whsec_"):
        return ""
    return "It must be whsec_ and 24 to 64 random bytes in base64."


def _hold(project: Project) -> None:
    """Have whoever else saves a project's settings wait until the transaction ends."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _alert_values(project: Project, target: AlertTarget) -> dict[str, Any]:
    rows = AlertRule.objects.for_project(project).order_by("kind")
    return {"rules": [values_of_rule(row) for row in rows], **values_of_target(target)}


def _checked_rules(given: Sequence[Mapping[str, Any]]) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for number, one in enumerate(given):
        kind = AlertKind(one["kind"])
        if kind in rules:
            raise FieldError("body", "rules", number, "kind", msg="Give one rule for each kind.")
        shipped = asdict(DEFAULT_RULES[kind])
        wanted = shipped | {name: one[name] for name in shipped if one.get(name) is not None}
        for name, problem in problems_of_figures(wanted).items():
            raise FieldError("body", "rules", number, name, msg=problem)
        rules[kind] = Rule(**wanted)
    return rules
