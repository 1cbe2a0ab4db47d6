"""The pricing page: anybody may look; whoever has come in by a link may buy."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse

from common.errors import ApiError, NotFound
from common.strict_jwt import is_storable
from entitlements.services.entitled import read_entitled
from hosted.services.accounts import running_subscription
from hosted.services.offers import INTERVALS, find_price, read_offers, what_is_named
from hosted.views.pages import HostedView, Indexed, leave_to
from hosted.wording import is_about_promotion_code, sentence_of
from payments.services.checkout import AlreadySubscribed, Purchase, open_checkout_session, read_checkout_session

PROMO_CODE_CHARS_MAX = 255
PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
PAID = ("paid", "no_payment_required")


class PricingView(Indexed, HostedView):
    """The project's plans."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the plans; `interval` and `currency` switch between prices, `code` is a promotion code to carry on."""
        return self._show(request, request.GET.dict())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Take a promotion code, or go to Stripe's checkout for a price."""
        session, form = self.session, request.POST.dict()
        code = _code_of(form.get("promo_code", ""))
        if form.get("action") == "code":
            return self.go(_with_query("pricing", {**_switches(form), "code": code}))
        try:
            price = find_price(project=session.project, mode=session.mode, price_id=form.get("price", ""))
            opened = open_checkout_session(
                project=session.project,
                mode=session.mode,
                end_user=session.end_user,
                purchase=Purchase(
                    success_url=f"{self.place.url('return')}?session_id={PLACEHOLDER}",
                    cancel_url=self.place.url(_with_query("pricing", _switches(form))),
                    trial=form.get("trial") == "yes",
                    promo_code=code,
                    **what_is_named(price),
                ),
            )
        except AlreadySubscribed:
            return self.go("account?done=already_subscribed")
        except ApiError as error:
            about_code = is_about_promotion_code(error)
            problem = {"code_problem" if about_code else "problem": sentence_of(error)}
            return self._show(request, {**form, "code": code}, status=error.status_code, **problem)
        return leave_to(opened.url)

    def _show(self, request: HttpRequest, given: dict[str, str], *, status: int = 200, **more: Any) -> HttpResponse:
        place = self.place
        session = place.session
        subscription = running_subscription(session) if session else None
        held_code = ""
        if session is not None and subscription is None:
            end_user_id = session.end_user_id
            held_code = read_entitled(project_id=place.project.pk, mode=place.mode, end_user_id=end_user_id).tier
        offers = read_offers(
            project=place.project,
            mode=place.mode,
            interval=given.get("interval", ""),
            currency=given.get("currency", ""),
            end_user=session.end_user if session else None,
            subscription=subscription,
            held_code=held_code,
        )
        code = _code_of(given.get("code", ""))
        wanted = {"page": "pricing", "interval": offers.interval}
        return self.page(
            "pricing",
            status=status,
            offers=offers,
            cards=[(offer, place.sign_in_url(**wanted, plan=offer.plan.code)) for offer in offers.offers],
            subscription=subscription,
            code=code,
            takes_codes=session is not None and subscription is None and place.policy.allow_promotion_codes,
            sign_in_url=place.sign_in_url(**wanted),
            switches=[(one, _with_query("", {**_kept(given), "interval": one})) for one in offers.intervals],
            currencies=[(one, _with_query("", {**_kept(given), "currency": one})) for one in offers.currencies],
            **more,
        )


class ReturnView(HostedView):
    """Where Stripe's checkout comes back to: asks what became of it, which is right even before the webhook."""

    http_method_names = ["get"]
    asks_stripe = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Lead on to the account, or back to the plans."""
        session = self.session
        try:
            bought = read_checkout_session(
                project=session.project,
                mode=session.mode,
                end_user=session.end_user,
                session_id=request.GET.get("session_id", ""),
            )
        except NotFound:
            return self.go("account")
        except ApiError:
            # It is paid or not whatever Stripe answers now; the webhook tells.
            return self.go("account?done=pending")
        if bought.status == "complete":
            return self.go("account?done=" + ("bought" if bought.payment_status in PAID else "pending"))
        return self.go("pricing")


def _switches(form: dict[str, str]) -> dict[str, str]:
    """Keep what the visitor has switched to, as far as it is one of the words that the page knows."""
    kept = {"interval": form.get("interval", ""), "currency": form.get("currency", "")}
    if kept["interval"] not in INTERVALS:
        kept["interval"] = ""
    if not (kept["currency"].isascii() and kept["currency"].isalpha() and len(kept["currency"]) == 3):
        kept["currency"] = ""
    return kept


def _kept(given: dict[str, str]) -> dict[str, str]:
    return {**_switches(given), "code": _code_of(given.get("code", ""))}


def _code_of(typed: str) -> str:
    """Read a promotion code; what cannot be one is none."""
    typed = typed.strip()[:PROMO_CODE_CHARS_MAX]
    return typed if is_storable(typed) else ""


def _with_query(page: str, values: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{page}?{query}" if query else page or "?"
