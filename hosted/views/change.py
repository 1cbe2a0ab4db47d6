"""The change of plan: what it costs exactly, and the button that makes it cost that."""

from django.http import HttpRequest, HttpResponse

from common.errors import ApiError
from entitlements.models import PlanPrice
from hosted.services.accounts import read_plan_held
from hosted.services.changes import confirm_change, quote_change
from hosted.services.offers import find_price
from hosted.views.pages import HostedView
from hosted.wording import sentence_of


class ChangeView(HostedView):
    """Shows what moving to another price costs, and moves."""

    http_method_names = ["get", "head", "post"]
    asks_stripe = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show what the change costs. Asks Stripe, changes nothing."""
        return self._show(self._price(request.GET.get("price", "")))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Move, as it was shown; when it would cost something else now, show that instead."""
        session, price = self.session, self._price(request.POST.get("price", ""))
        try:
            confirm_change(session=session, price=price, signed=request.POST.get("quote", ""))
        except ApiError as error:
            is_card = error.status_code == 402
            return self._show(price, status=error.status_code, problem=sentence_of(error), is_card=is_card)
        return self.go("account?done=changed")

    def _price(self, price_id: str) -> PlanPrice:
        session = self.session
        return find_price(project=session.project, mode=session.mode, price_id=price_id)

    def _show(self, price: PlanPrice, *, status: int = 200, problem: str = "", is_card: bool = False) -> HttpResponse:
        session = self.session
        held = read_plan_held(session)
        if held is None:
            return self.go("pricing")
        quote = None
        try:
            quote = quote_change(session=session, price=price, subscription=held.subscription)
        except ApiError as error:
            problem, status = problem or sentence_of(error), max(status, error.status_code)
        return self.page("change", status=status, held=held, price=price, quote=quote, problem=problem, is_card=is_card)
