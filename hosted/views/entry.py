"""How somebody comes in and leaves: a link is exchanged for a cookie, once; the brand's colours; and the way out."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hosted import limits
from hosted.services.links import LinkExpired, LinkRefused, LinkUsed, read_link
from hosted.services.places import Place
from hosted.services.sessions import LIFETIME, end_session, open_session, was_opened_by
from hosted.views.pages import SEE_OTHER, HostedView, cookie_name
from notifications.services.brand import seen_on

BRAND_SECONDS = 300
REFUSED = {
    LinkExpired: ("This link has expired", "Links to these pages last for some minutes only. Open a new one."),
    LinkUsed: ("This link has been used already", "Each link to these pages opens once. Open a new one."),
    LinkRefused: ("This link is not valid", "It may have been cut off or changed. Open a new one."),
}


class OpenView(HostedView):
    """Exchanges a link for a session. What follows has no token in its address."""

    http_method_names = ["get"]
    limit = limits.LINKS_OPENED_PER_ADDRESS
    referrer_policy = "no-referrer"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Let somebody in, or say plainly why not and where to get a new link."""
        place = self.place
        if "prefetch" in request.headers.get("Sec-Purpose", ""):
            # A browser that looks ahead must not use the link up: it asks again when somebody clicks.
            return HttpResponse(status=503)
        link = None
        try:
            link = read_link(request.GET.get("link", ""), project=place.project, mode=place.mode)
            opened = open_session(link=link)
        except LinkRefused as refusal:
            if link is not None and isinstance(refusal, LinkUsed) and was_opened_by(session=place.session, link=link):
                return self.go(link.page)
            title, text = REFUSED[type(refusal)]
            return self.sign_in(title=title, text=text)
        answer = self.go(link.page)
        answer.set_cookie(
            cookie_name(),
            opened.key,
            max_age=LIFETIME,
            path=_cookie_path(place),
            secure=settings.HTTPS_ONLY,
            httponly=True,
            # Strict would keep it back on the return from Stripe.
            samesite="Lax",
        )
        return answer


class SignOutView(HostedView):
    """Ends the session."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Leave: to the app when it has named a way back, else to the plans."""
        place = self.place
        if place.session is not None:
            end_session(session=place.session)
        answer = HttpResponseRedirect(place.return_url or place.path("pricing"), status=SEE_OTHER)
        answer.delete_cookie(cookie_name(), path=_cookie_path(place), samesite="Lax")
        return answer


class BrandView(HostedView):
    """The brand's colours as a stylesheet of its own: no page holds any style, and the app's link button may use it."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer with the colours."""
        look = self.place.look
        light, dark = (seen_on(look.color, card) for card in CARDS)
        text = f":root {{ --brand: {look.color}; --brand-ink: {look.ink}; --brand-bars: {light}; }}\n"
        text += f"@media (prefers-color-scheme: dark) {{ :root {{ --brand-bars: {dark}; }} }}\n{BUTTON}"
        return HttpResponse(text, content_type="text/css; charset=utf-8")


# What charts are drawn on in the light and in the dark: --card of licenses/page.css.
CARDS = ("#ffffff", "#1a1e26")
# For the app's own pages, which load this and nothing else of ours.
BUTTON = """.hosted-button {
  display: inline-block; padding: .7rem 1.15rem; border-radius: 10px; background: var(--brand); color: var(--brand-ink);
  font: 600 1rem/1.3 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; text-decoration: none;
}
.hosted-button:hover { filter: brightness(1.07); }
.hosted-button:focus-visible { outline: 3px solid currentcolor; outline-offset: -6px; }
"""


def _cookie_path(place: Place) -> str:
    return place.path("").rstrip("/")
