"""One end user on one screen, for a support call: who, what they have and why, what is wrong, and what can be done about it."""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from backoffice.services import causes as why
from backoffice.services.causes import Cause, find_causes
from backoffice.services.support_case import Case, read_case
from backoffice.visible import page_of, row_or_404
from backoffice.words import answers_in_words, buckets_in_words, effect_in_words
from common.errors import ApiError
from common.modes import LIVE, MODES, TEST
from common.money import money_text
from entitlements.services.entitled import render_entitled
from entitlements.services.ledger import read_balance
from licenses.models import License, LicenseState
from payments.admin.display import pretty_json
from payments.admin.policy import change_in_words
from payments.models import Subscription, Transaction
from payments.serializers import payments_with_relations, render_payments
from payments.services.my_state import read_my_entitlements, read_my_subscription
from payments.services.shapes import render_subscription
from projects.models import EndUser, Role

PREVIEWED_PAYMENTS = 10
INVITABLE = (LicenseState.INVITED, LicenseState.ACTIVE)


@dataclass(frozen=True)
class Deed:
    """Something that the viewer may do, as a link to the page that asks why and whether it is meant."""

    label: str
    link: str
    detail: str = ""


@require_safe
def end_user_page(request: HttpRequest, end_user_id: Any) -> HttpResponse:
    """Open the mode in which the user was seen: live when they ever came there, else test."""
    row = row_or_404(request, EndUser, end_user_id)
    asked = request.GET.get("mode", "")
    mode = asked if asked in MODES else LIVE if row.appeared_live_at is not None else TEST
    return HttpResponseRedirect(reverse("backoffice:end-user-in-mode", args=[row.pk, mode]))


@require_safe
def end_user_in_mode_page(request: HttpRequest, end_user_id: Any, mode: str) -> HttpResponse:
    """Show everything about a user in one mode."""
    row = row_or_404(request, EndUser, end_user_id, "project")
    case = read_case(end_user=row, mode=mode)
    other = TEST if mode == LIVE else LIVE
    context = {
        **admin.site.each_context(request),
        "title": f"End user {row}",
        "case": case,
        "causes": [(cause, *_mend(request, case, cause)) for cause in find_causes(case)],
        "deeds": _deeds(request, case),
        "modes": [(one, reverse("backoffice:end-user-in-mode", args=[row.pk, one]), one == mode) for one in (LIVE, TEST)],
        "other_mode": other,
        "changes": [(one, change_in_words(one)) for one in case.changes],
        "buckets": buckets_in_words(case.entitled.credits.buckets),
        "effects": [(one, *effect_in_words(one.kind, one.effect_key)) for one in case.effects],
        "payments": [_payment(request, one) for one in case.payments],
        "unpaid": [(one, money_text(one.amount_remaining_cents, one.currency)) for one in case.invoices if one.status == "open"],
        "subscriptions": [(one, _subscription_deeds(request, row, one.row)) for one in case.subscriptions],
        "licenses": [(one, _license_deeds(request, row, one)) for one in case.licenses],
        "may_resend": _may(request, "notifications.resend_mail", row),
        "may_replay": _may(request, "payments.replay_webhookevent", row),
        "may_replay_effects": _may(request, "notifications.replay_outboxrow", row),
    }  # fmt: skip
    return TemplateResponse(request, "backoffice/end_user.html", context)


@require_safe
def preview_page(request: HttpRequest, end_user_id: Any, mode: str) -> HttpResponse:
    """Show what the app is answered about this user now. Nobody signs in as them, and the database refuses every write."""
    row = row_or_404(request, EndUser, end_user_id, "project")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        answers = _answers(row, mode)
    context = {
        **admin.site.each_context(request),
        "title": f"What {row} sees",
        "end_user": row,
        "mode": mode,
        "words": answers_in_words(answers),
        "answers": [(path, pretty_json(body), refused) for path, body, refused in answers],
    }
    return TemplateResponse(request, "backoffice/preview.html", context)


def _answers(row: EndUser, mode: str) -> list[tuple[str, Any, bool]]:
    """Ask the services behind the end user's endpoints; a refusal is what the user would be answered."""
    who: dict[str, Any] = {"project": row.project, "mode": mode, "end_user": row}

    def subscription() -> Any:
        found = read_my_subscription(**who)
        return render_subscription(found) if found else None

    def payments() -> Any:
        rows = Transaction.objects.for_project(row.project_id).in_mode(mode).filter(end_user=row)
        newest = payments_with_relations(rows).order_by("-created_at", "-id")[:PREVIEWED_PAYMENTS]
        return render_payments(newest)

    def credits() -> Any:
        return asdict(read_balance(project_id=row.project_id, mode=mode, end_user_id=row.pk))

    asked = [
        ("GET /api/v1/payments/stripe/my-subscription", subscription),
        ("GET /api/v1/payments/stripe/my-entitlements", lambda: render_entitled(read_my_entitlements(**who))),
        ("GET /api/v1/payments/credits/balance", credits),
        (f"GET /api/v1/payments/stripe/my-payments?page_size={PREVIEWED_PAYMENTS}", payments),
    ]
    answers: list[tuple[str, Any, bool]] = []
    for asked_path, ask in asked:
        path = f"{asked_path}{'&' if '?' in asked_path else '?'}test_mode={'true' if mode == TEST else 'false'}"
        try:
            answers.append((path, ask(), False))
        except ApiError as refusal:
            answers.append(
                (path, {"status": refusal.status_code, "code": refusal.code, "detail": refusal.detail}, True)
            )
    return answers


end_user = admin.site.admin_view(end_user_page)
end_user_in_mode = admin.site.admin_view(end_user_in_mode_page)
preview = admin.site.admin_view(preview_page)


def _may(request: HttpRequest, right: str, row: Any, developers: Role = Role.DEVELOPER) -> bool:
    """Whether the viewer has a right of the staff, or at least that role in the row's project."""
    user: Any = request.user
    return bool(user.has_perm(right)) or page_of(EndUser).has_right(request, right, row, developers=developers)


def _address(name: str, *key: Any, **query: str) -> str:
    """Return the address of an action, or "" where this release does not have it."""
    try:
        address = reverse(name, args=key)
    except NoReverseMatch:
        return ""
    return f"{address}?{urlencode(query)}" if query else address


def _deeds(request: HttpRequest, case: Case) -> list[Deed]:
    """List what can be done about the user as a whole, as far as the viewer may."""
    user, mode = case.end_user, case.mode
    wallet = case.wallet.pk if case.wallet else None
    ban = ("Let in again", "backoffice:unban-user") if user.banned_at else ("Ban", "backoffice:ban-user")
    offered = [
        ("payments.read_from_stripe", "Read everything from Stripe", _address("backoffice:sync-user", user.pk, mode)),
        ("entitlements.give_plan", "Give or take back a plan", _address("backoffice:give-plan", user.pk, mode)),
        ("entitlements.adjust_creditwallet", "Give or take credits",
         _address("admin:entitlements_creditwallet_adjust", wallet) if wallet else ""),
        ("projects.ban_enduser", ban[0], _address(ban[1], user.pk)),
        ("projects.anonymise_enduser", "Hand out their data", _address("backoffice:personal-data", user.pk)),
    ]  # fmt: skip
    found = [Deed("See what the user sees", _address("backoffice:preview", user.pk, mode))]
    found += [Deed(label, link) for right, label, link in offered if link and _may(request, right, user)]
    if _may(request, "projects.anonymise_enduser", user, Role.OWNER):
        found.append(Deed("Anonymise", _address("backoffice:anonymise-user", user.pk)))
    return [*found, Deed("Open their record", _address("admin:projects_enduser_change", user.pk))]


def _subscription_deeds(request: HttpRequest, user: EndUser, row: Subscription) -> list[Deed]:
    offered = [
        ("payments.read_from_stripe", "Read from Stripe", "admin:payments_subscription_sync"),
        ("payments.cancel_subscription", "Cancel", "admin:payments_subscription_cancel"),
        ("payments.comp_subscription", "Free days", "admin:payments_subscription_comp"),
    ]
    running = row.ended_at is None
    found = [
        Deed(label, _address(name, row.pk))
        for right, label, name in offered
        if (running or name.endswith("_sync")) and _may(request, right, user)
    ]
    return [deed for deed in found if deed.link]


def _license_deeds(request: HttpRequest, user: EndUser, row: License) -> list[Deed]:
    offered = [
        ("licenses.reinvite_license", "Invite again", "invite_again"),
        ("licenses.resend_license_mail", "Send the mail again", "resend_mail"),
        ("licenses.act_on_license", "Change or revoke", ""),
    ]
    return [
        Deed(label, _address("admin:licenses_license_act", row.pk, **({"deed": deed} if deed else {})))
        for right, label, deed in offered
        if _may(request, right, user) and (deed != "invite_again" or row.state in INVITABLE)
    ]


def _payment(request: HttpRequest, row: Transaction) -> dict[str, Any]:
    user: Any = request.user
    left = row.status in ("succeeded", "partially_refunded") and row.refunded_amount_cents < row.amount_cents
    return {
        "row": row,
        "amount": money_text(row.amount_cents, row.currency),
        "refunded": money_text(row.refunded_amount_cents, row.currency) if row.refunded_amount_cents else "",
        "refund": _address("admin:payments_transaction_refund", row.pk)
        if left and user.has_perm("payments.refund_transaction")
        else "",
    }


def _mend(request: HttpRequest, case: Case, cause: Cause) -> tuple[str, str]:
    """Turn what mends a cause into a link and its text; both empty where the viewer may not or there is nothing to press."""
    user, mode = case.end_user, case.mode
    other = TEST if mode == LIVE else LIVE
    project = reverse("backoffice:project", args=[user.project_id]) + f"?mode={mode}"
    ways: dict[str, tuple[str, str, str]] = {
        why.SYNC: ("payments.read_from_stripe", _address("backoffice:sync-user", user.pk, mode), "Read from Stripe now"),
        why.GIVE: ("entitlements.give_plan", _address("backoffice:give-plan", user.pk, mode), "Change it"),
        why.UNBAN: ("projects.ban_enduser", _address("backoffice:unban-user", user.pk), "Let in again"),
        why.KEYS: ("", project, "Open the project"),
        why.PLAN_PRICES: ("", reverse("admin:entitlements_planprice_changelist"), "Plan prices"),
        why.REPLAY: ("", _address("backoffice:event", cause.key) if cause.mend == why.REPLAY else "", "Open the event"),
        why.INVOICE: ("", _address("admin:payments_invoice_change", cause.key) if cause.mend == why.INVOICE else "",
                      "Invoice with the page to pay on"),
        why.OTHER_MODE: ("", reverse("backoffice:end-user-in-mode", args=[user.pk, other]), f"Look at {other} mode"),
        why.NAMESAKE: ("", reverse("backoffice:end-user", args=[cause.key]) if cause.mend == why.NAMESAKE else "", "Open them"),
        why.REFUND: ("", reverse("admin:payments_refund_changelist"), "Refunds"),
        why.EFFECT: ("", _address("admin:notifications_outboxrow_change", cause.key) if cause.mend == why.EFFECT else "",
                     "Open the effect"),
    }  # fmt: skip
    right, link, text = ways.get(cause.mend, ("", "", ""))
    if right and not _may(request, right, user):
        return "", ""
    return link, text
