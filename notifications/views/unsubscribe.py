"""The page on which a recipient turns optional mails off, and on again. The link is all that is needed; it shows no address."""

import base64
import hashlib

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from common.errors import ApiError
from notifications.services.brand import look_of
from notifications.services.unsubscribing import Subscriber, is_opted_out, opt_in, opt_out, read_link

POLICY = (
    "default-src 'none'; style-src 'self'{brand}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)


# The link is the right to press the button, and a mail program presses it with no cookie (RFC 8058).
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class UnsubscribeView(View):
    """Asks on GET, since whatever scans mails follows links; does it on POST."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Ask, or say that it was done."""
        try:
            subscriber = read_link(token)
        except ApiError as refusal:
            return _page(request, None, refusal)
        return _page(request, subscriber)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Unsubscribe, or subscribe again with `action=resume`."""
        try:
            subscriber = read_link(token)
        except ApiError as refusal:
            return _page(request, None, refusal)
        (opt_in if request.POST.get("action") == "resume" else opt_out)(subscriber)
        return _page(request, subscriber, changed=True)


def _page(
    request: HttpRequest, subscriber: Subscriber | None, refusal: ApiError | None = None, changed: bool = False
) -> HttpResponse:
    look = look_of(subscriber.project) if subscriber else None
    # The page's only style of its own, and the policy lets in exactly this one.
    style = (
        f"button:not(.plain) {{ background: {look.color}; border-color: {look.color}; color: {look.ink}; }}"
        if look
        else ""
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    context = {
        "brand": style,
        "project": subscriber.project if subscriber else None,
        "is_off": subscriber is not None and is_opted_out(subscriber),
        "changed": changed,
        "problem": refusal.detail if refusal else "",
    }
    status = refusal.status_code if refusal else 200
    answer = render(request, "notifications/unsubscribe.html", context, status=status)
    answer["Content-Security-Policy"] = POLICY.format(brand=f" 'sha256-{digest}'" if style else "")
    # The address of this page is a right: it goes nowhere else.
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Robots-Tag"] = "noindex"
    return answer
