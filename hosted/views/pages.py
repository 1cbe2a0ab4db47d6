"""What all hosted pages share: whose they are, who is there, how they are protected, and what they say when they refuse.

Invariants: a page shows what belongs to its session and to nobody else; nothing is changed by a GET, and a form is taken with the
token of its own page only; no address of a page holds a token, and no other site learns it; no script runs.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from common.client_address import client_address
from common.errors import ApiError, TooManyRequests
from common.rate_limits import RateLimit, count_call
from hosted import limits
from hosted.models import HostedSession
from hosted.services.places import PagesNotFound, Place, find_place
from hosted.wording import sentence_of
from projects.origins import origin_of

SEE_OTHER = 303


class SignedOut(Exception):
    """Nobody is signed in, and the page is for those who are."""


def cookie_name() -> str:
    """Name the cookie of a session; its path is that of one project's pages in one mode."""
    return "__Secure-hosted" if settings.HTTPS_ONLY else "hosted"


@method_decorator(never_cache, name="dispatch")
class HostedView(View):
    """One page. Inherit, and read `self.place`; `self.session` is for pages that need somebody."""

    limit: RateLimit = limits.PAGES_PER_ADDRESS
    # Whether looking at it makes calls to Stripe, as every form does.
    asks_stripe = False
    referrer_policy = "same-origin"
    place: Place

    def dispatch(self, request: HttpRequest, *args: Any, slug: str, mode: str, **kwargs: Any) -> HttpResponseBase:
        """Find out whose page it is, and turn what is refused into a page of its own."""
        try:
            count_call(self.limit, client_address(request))
            self.place = find_place(slug=slug, mode=mode, key=request.COOKIES.get(cookie_name(), ""))
        except TooManyRequests as error:
            return self._protected(_bare(request, "busy", error))
        except PagesNotFound as error:
            return self._protected(_bare(request, "missing", error))
        try:
            if (request.method == "POST" or self.asks_stripe) and self.place.session is not None:
                count_call(limits.ACTIONS_PER_USER, str(self.place.session.end_user_id))
            return self._protected(super().dispatch(request, *args, **kwargs))
        except SignedOut:
            return self._protected(self.sign_in())
        except TooManyRequests as error:
            return self._protected(
                self.page("problem", status=429, problem=error.detail, headers=error.response_headers())
            )
        except ApiError as error:
            return self._protected(self.page("problem", status=error.status_code, problem=sentence_of(error)))

    @property
    def session(self) -> HostedSession:
        """Who is there. Raises: SignedOut."""
        if self.place.session is None:
            raise SignedOut
        return self.place.session

    def page(
        self, name: str, *, status: int = 200, headers: dict[str, str] | None = None, **context: Any
    ) -> HttpResponse:
        """Render a page in the project's look and time zone."""
        with timezone.override(self.place.zone):
            answer = render(
                self.request, f"hosted/{name}.html", {"place": self.place, "view": name, **context}, status=status
            )
        for header, value in (headers or {}).items():
            answer[header] = value
        return answer

    def sign_in(self, *, title: str = "", text: str = "") -> HttpResponse:
        """Say that somebody has to sign in, why, and where."""
        return self.page(
            "sign_in", status=401, title=title, text=text, sign_in_url=self.place.sign_in_url(page="account")
        )

    def go(self, page: str) -> HttpResponse:
        """Lead to one of these pages by another GET, so that reloading repeats nothing."""
        return HttpResponseRedirect(self.place.path(page), status=SEE_OTHER)

    def _protected(self, answer: HttpResponseBase) -> HttpResponseBase:
        answer["Content-Security-Policy"] = policy_of(getattr(self, "place", None))
        answer["Referrer-Policy"] = self.referrer_policy
        if not isinstance(self, Indexed):
            answer["X-Robots-Tag"] = "noindex"
        return answer


class Indexed:
    """A page that search engines may show."""


def leave_to(url: str) -> HttpResponse:
    """Lead to a page of Stripe's, whatever its scheme is called."""
    return HttpResponseRedirect(url, status=SEE_OTHER)


def _bare(request: HttpRequest, name: str, error: ApiError) -> HttpResponse:
    """Render a page that belongs to nobody."""
    answer = render(request, f"hosted/{name}.html", {"problem": error.detail, "view": name}, status=error.status_code)
    for header, value in error.response_headers().items():
        answer[header] = value
    return answer


def policy_of(place: Place | None) -> str:
    """Write what a page may load and where its forms may lead.

    A form is sent here and answered with the way to Stripe, whose address may be a domain of the seller's own; browsers hold such
    an answer to `form-action`, too.  Source: https://www.w3.org/TR/CSP3/#directive-form-action
    """
    images = f"'self' {place.logo_origin}".strip() if place else "'self'"
    # What stands in for Stripe, and an app under construction, have no https.
    origins = [origin_of(url) for url in (settings.STRIPE_API_BASE, place.return_url if place else "")]
    without_tls = "".join(f" {origin}" for origin in origins if origin and origin.startswith("http://"))
    return (
        f"default-src 'none'; style-src 'self'; img-src {images}; form-action 'self' https:{without_tls}; "
        "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
    )
