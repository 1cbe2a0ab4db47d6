"""The account page, and what somebody does there: cancel, keep, buy credits, go to a licence or to Stripe's portal."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from common.errors import ApiError
from common.strict_jwt import is_storable
from entitlements.models import Bucket
from hosted.services.accounts import read_account, read_plan_held, web_link
from hosted.services.holdings import license_url
from hosted.views.pages import HostedView, leave_to
from hosted.views.pricing import PLACEHOLDER
from hosted.wording import sentence_of
from payments.services.credit_checkout import open_credit_checkout
from payments.services.portal import PAYMENT_METHOD_UPDATE, open_portal
from payments.services.subscription_changes import cancel_subscription, resume_subscription

# What has just been done, named in the address so that reloading repeats nothing: (text, whether it is good news).
DONE = {
    "bought": ("Thank you. Your purchase is complete.", True),
    "pending": ("Your payment is being processed. This page shows it as soon as it is complete.", False),
    "changed": ("Your plan has been changed.", True),
    "canceled": ("Your plan is canceled: it is not renewed after the date below. You can still keep it.", True),
    "resumed": ("Your plan goes on.", True),
    "already_subscribed": ("You have a plan already. Change it here instead of buying another one.", False),
}
# Stripe's words for why somebody leaves, and ours. The order is that of the form.
REASONS = {
    "too_expensive": "It is too expensive",
    "missing_features": "Something that I need is missing",
    "switched_service": "I have found something else",
    "unused": "I do not use it enough",
    "customer_service": "The support was not good",
    "too_complex": "It is too complicated",
    "low_quality": "The quality was not good",
    "other": "Another reason",
}
COMMENT_CHARS_MAX = 500
TOO_LONG = f"Write at most {COMMENT_CHARS_MAX} characters."
CHOOSE_ONE = "Choose a reason, or none."


class AccountView(HostedView):
    """What somebody has, has paid and has used."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the account; `payments` is the page of the payments."""
        return show_account(self, request)


class CancelView(HostedView):
    """Asks why, and cancels at the end of the period."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask."""
        return self._ask({})

    def post(self, request: HttpRequest) -> HttpResponse:
        """Cancel at the end of the period."""
        session, form = self.session, request.POST
        reason, comment = form.get("reason", ""), form.get("comment", "").replace("\r\n", "\n").strip()
        problems = {}
        if reason and reason not in REASONS:
            problems["reason_problem"] = CHOOSE_ONE
        if len(comment) > COMMENT_CHARS_MAX or any(ord(char) < 32 and char not in "\n\t" for char in comment):
            problems["comment_problem"] = TOO_LONG
        if problems:
            return self._ask(form, status=422, **problems)
        try:
            cancel_subscription(
                project=session.project,
                mode=session.mode,
                end_user=session.end_user,
                immediately=False,
                reason=reason,
                comment=comment,
            )
        except ApiError as error:
            return self._ask(form, status=error.status_code, problem=sentence_of(error))
        return self.go("account?done=canceled")

    def _ask(self, form: Mapping[str, str], *, status: int = 200, **problems: Any) -> HttpResponse:
        held = read_plan_held(self.session)
        if held is None or held.ends_at is not None:
            return self.go("account")
        given: dict[str, Any] = {
            "reason": form.get("reason", ""),
            "comment": form.get("comment", "")[: COMMENT_CHARS_MAX * 2],
        }
        return self.page("cancel", status=status, held=held, reasons=REASONS.items(), **given, **problems)


class ResumeView(HostedView):
    """Keeps a plan that was canceled."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Keep it."""
        session = self.session
        try:
            resume_subscription(project=session.project, mode=session.mode, end_user=session.end_user)
        except ApiError as error:
            return show_account(self, request, status=error.status_code, problem=sentence_of(error))
        return self.go("account?done=resumed")


class PortalView(HostedView):
    """Leads to Stripe's portal: cards, addresses, invoices."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Open it; `flow=card` opens it where a card is changed."""
        session = self.session
        flow = PAYMENT_METHOD_UPDATE if request.POST.get("flow") == "card" else ""
        try:
            url = open_portal(
                project=session.project,
                mode=session.mode,
                end_user=session.end_user,
                return_url=self.place.url("account"),
                flow=flow,
            )
        except ApiError as error:
            return show_account(self, request, status=error.status_code, problem=sentence_of(error))
        return leave_to(url)


class CreditsView(HostedView):
    """Leads to the checkout of a credit pack."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Open it."""
        session, pack = self.session, request.POST.get("pack", "")[:64]
        try:
            opened = open_credit_checkout(
                project=session.project,
                mode=session.mode,
                end_user=session.end_user,
                pack=pack if is_storable(pack) else "",
                success_url=f"{self.place.url('return')}?session_id={PLACEHOLDER}",
                cancel_url=self.place.url("account"),
            )
        except ApiError as error:
            return show_account(self, request, status=error.status_code, problem=sentence_of(error))
        return leave_to(opened.url)


class LicenseView(HostedView):
    """Leads to the page of a licence: its address holds a token, so that it is made for whoever goes there now."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Go there."""
        try:
            return leave_to(license_url(session=self.session, license_id=request.POST.get("license", "")[:64]))
        except ApiError as error:
            return show_account(self, request, status=error.status_code, problem=sentence_of(error))


def show_account(view: HostedView, request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    """Render the account page, with what was refused if something was."""
    account = read_account(session=view.session, page=_page_of(request))
    done, is_good = DONE.get(request.GET.get("done", ""), ("", False))
    spendable = account.entitled.credits.buckets
    buckets = [(bucket.label, spendable[bucket]) for bucket in Bucket if spendable.get(bucket)]
    owed_url = web_link(account.held.owed.hosted_invoice_url) if account.held and account.held.owed else ""
    shown: dict[str, Any] = {
        "account": account,
        "buckets": buckets,
        "done": done,
        "is_good": is_good,
        "owed_url": owed_url,
    }
    return view.page("account", status=status, **shown, **more)


def _page_of(request: HttpRequest) -> int:
    number = request.GET.get("payments", "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
