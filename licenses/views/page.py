"""The page /license-access: from the payment to the code, in a browser, without JavaScript.

Invariants: nothing is shown without the signed link, and a link shows its own licence only; the page loads nothing from elsewhere,
tells no other site its address, and is kept by no cache. Its forms carry the link's token, which nobody else has, so that they need
no cookie.
"""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters

from common.errors import ApiError, FieldError, TooManyRequests
from common.rate_limits import count_call
from licenses import limits
from licenses.authentication import principal_of
from licenses.models import License, LicenseState
from licenses.nudge import nudge_outbox, nudge_poller
from licenses.services.access import Access, find_access, find_license, find_unlinked
from licenses.services.access_tokens import AccessExpired, AccessRefused, read_access_token
from licenses.services.github import clean_username
from licenses.services.keys import make_key
from licenses.services.polling import Check, check_of, check_soon
from licenses.services.progress import Progress
from licenses.services.states import LicenseNotFound
from licenses.services.support import resend_link
from licenses.services.usernames import UsernameGiven, invite_again, submit_username
from projects.principals import LicenseHolderPrincipal

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
REFRESH_SECONDS, SLOW_REFRESH_SECONDS = 4, 20
SENT = "If the link was once yours, a new one is on its way to the address that the licence was bought with."
STEP_NUMBER = {
    LicenseState.PENDING: 1,
    LicenseState.USERNAME_SUBMITTED: 2,
    LicenseState.INVITED: 2,
    Progress.SELLER: 2,
    Progress.FAILED: 2,
    "invitation_ended": 2,
    LicenseState.ACTIVE: 3,
}


@method_decorator([never_cache, csrf_exempt, sensitive_post_parameters("token")], name="dispatch")
class LicensePage(View):
    """Shows where a licence stands, and takes what its holder does about it."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the view of the licence's state, or say what is wrong with the link."""
        return self._guarded(request, request.GET.get("token", ""), request.GET.get("session", ""), self._show)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Do one thing and show what came of it: by another GET, so that reloading repeats nothing."""
        return self._guarded(request, request.POST.get("token", ""), request.POST.get("session", ""), self._act)

    def _guarded(
        self,
        request: HttpRequest,
        token: str,
        session_id: str,
        answer: Callable[[HttpRequest, LicenseHolderPrincipal, str, str], HttpResponse],
    ) -> HttpResponse:
        try:
            limits.count_by_address(limits.PAGES_PER_ADDRESS, request)
            if not token:
                return self._unlinked(request, session_id)
            principal = principal_of(read_access_token(token))
            count_call(limits.PAGES_PER_LICENSE, str(principal.license_id))
            return answer(request, principal, token, session_id)
        except AccessExpired as error:
            return self._expired(request, token, error)
        except (AccessRefused, LicenseNotFound) as error:
            return _page(request, "unknown", status=error.status_code)
        except TooManyRequests as error:
            return _page(
                request, "busy", status=429, retry_after=error.retry_after_seconds, headers=error.response_headers()
            )

    def _show(
        self, request: HttpRequest, principal: LicenseHolderPrincipal, token: str, session_id: str, **more: Any
    ) -> HttpResponse:
        access = find_access(principal=principal, session_id=session_id)
        return _access_page(request, access, token, **more)

    def _act(
        self, request: HttpRequest, principal: LicenseHolderPrincipal, token: str, session_id: str
    ) -> HttpResponse:
        action = self.ACTIONS.get(request.POST.get("action", ""))
        if action is None:
            return self._show(request, principal, token, session_id)
        # The session must be the link's here too.
        access = find_access(principal=principal, session_id=session_id)
        if access.holder is None:
            raise LicenseNotFound()
        try:
            shown = action(self, request, access.holder)
        except (AccessRefused, LicenseNotFound):
            raise
        except ApiError as error:
            return self._refused(request, principal, token, session_id, error)
        if shown:
            return self._show(request, principal, token, session_id, **shown)
        return HttpResponseRedirect(_address(session_id, token), status=303)

    def _refused(
        self, request: HttpRequest, principal: LicenseHolderPrincipal, token: str, session_id: str, error: ApiError
    ) -> HttpResponse:
        problem = error.errors[0]["msg"] if isinstance(error, FieldError) else error.detail
        given, changing = request.POST.get("github_username", "")[:100], request.POST.get("replace") == "yes"
        return self._show(
            request,
            principal,
            token,
            session_id,
            problem=problem,
            given=given,
            # Whose other tab was faster may still mean this one.
            instead=clean_username(given) if isinstance(error, UsernameGiven) and not changing else None,
            status=error.status_code,
            changing=changing,
        )

    def _unlinked(self, request: HttpRequest, session_id: str) -> HttpResponse:
        """Say where the link is found; whoever knows a checkout's session may have one mailed to its buyer, and learns nothing."""
        asked = request.method == "POST" and request.POST.get("action") == "link"
        note = ""
        if asked and session_id:
            limits.count_by_address(limits.LINKS_PER_ADDRESS, request)
            # Counted whether there is a licence or not, so that being refused tells nothing either.
            count_call(limits.LINKS_PER_LICENSE, session_id[:255])
            row = find_unlinked(session_id)
            if row is not None and resend_link(row=row):
                nudge_outbox()
            note = "If a licence belongs to this address, a new link is on its way to whoever bought it."
        status = 401 if session_id and not asked else 200
        address = _address(session_id, "")
        return _page(request, "start", status=status, session_id=session_id, note=note, address=address)

    def _expired(self, request: HttpRequest, token: str, error: AccessExpired) -> HttpResponse:
        """Offer a new link by mail: only to the address that the licence was bought with."""
        if request.method == "POST" and request.POST.get("action") == "link":
            try:
                principal = principal_of(error.access)
                count_call(limits.LINKS_PER_LICENSE, str(principal.license_id))
            except AccessRefused as refused:
                return _page(request, "unknown", status=refused.status_code)
            except TooManyRequests as busy:
                return _page(request, "busy", status=429, retry_after=busy.retry_after_seconds)
            row = find_license(principal)
            if row is not None and resend_link(row=row):
                nudge_outbox()
            return _page(request, "expired", status=200, token=token, note=SENT)
        session_id = (request.POST if request.method == "POST" else request.GET).get("session", "")
        return _page(request, "expired", status=401, token=token, address=_address(session_id, token))

    # What the forms do. What they return is shown at once; nothing means another GET.

    def _submit(self, request: HttpRequest, holder: License) -> dict[str, Any]:
        limits.count_by_address(limits.USERNAMES_PER_ADDRESS, request)
        count_call(limits.USERNAMES_PER_LICENSE, str(holder.pk))
        revision = request.POST.get("revision", "")
        submit_username(
            project_id=holder.project_id,
            license_id=holder.pk,
            username=request.POST.get("github_username", ""),
            replaces=request.POST.get("replace") == "yes",
            revision=int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 10 else None,
        )
        nudge_outbox()
        return {}

    def _check(self, request: HttpRequest, holder: License) -> dict[str, Any]:
        count_call(limits.CHECKS_PER_LICENSE, str(holder.pk))
        if check_soon(holder):
            nudge_poller()
        return {}

    def _invite(self, request: HttpRequest, holder: License) -> dict[str, Any]:
        count_call(limits.USERNAMES_PER_LICENSE, str(holder.pk))
        invite_again(project_id=holder.project_id, license_id=holder.pk)
        nudge_outbox()
        return {}

    def _change(self, request: HttpRequest, holder: License) -> dict[str, Any]:
        return {"changing": True}

    def _key(self, request: HttpRequest, holder: License) -> dict[str, Any]:
        count_call(limits.KEYS_PER_LICENSE, str(holder.pk))
        replaces = request.POST.get("replace") == "yes"
        # This answer is the only place where the key is ever shown.
        return {"license_key": make_key(project_id=holder.project_id, license_id=holder.pk, replaces=replaces)}

    ACTIONS: ClassVar[dict[str, Callable[..., dict[str, Any]]]] = {
        "submit": _submit,
        "check": _check,
        "invite": _invite,
        "change": _change,
        "key": _key,
    }


def _access_page(request: HttpRequest, access: Access, token: str, *, status: int = 200, **more: Any) -> HttpResponse:
    check = check_of(access.holder) if access.holder and access.step == LicenseState.INVITED else None
    return _page(
        request,
        access.step,
        status=status,
        access=access,
        token=token,
        number=STEP_NUMBER.get(access.step, 0),
        check=check,
        refresh=_refresh_seconds(access, check, more),
        address=_address(access.session_id, token),
        **more,
    )


def _address(session_id: str, token: str) -> str:
    """Write the page's own address: forms are sent there, so that it is still whole after a refusal."""
    query = urlencode({name: value for name, value in (("session", session_id), ("token", token)) if value})
    return f"{reverse('license-page')}?{query}" if query else reverse("license-page")


def _refresh_seconds(access: Access, check: Check | None, more: dict[str, Any]) -> int:
    """Say when the page looks again by itself; 0 = not at all, as long as there is something to read or to fill in."""
    if more.get("changing") or more.get("license_key") or more.get("problem"):
        return 0
    if access.step == LicenseState.INVITED:
        is_asked = check is not None and check.answered_at is None and not check.is_slow
        return REFRESH_SECONDS if is_asked else SLOW_REFRESH_SECONDS
    if access.is_held_up:
        return SLOW_REFRESH_SECONDS
    return REFRESH_SECONDS if access.is_waiting else 0


def _page(
    request: HttpRequest, view: str, *, status: int, headers: dict[str, str] | None = None, **more: Any
) -> HttpResponse:
    response = render(
        request, "licenses/page.html", {"view": view, "part": f"licenses/views/{view}.html", **more}, status=status
    )
    for name, value in {**HEADERS, **(headers or {})}.items():
        response[name] = value
    return response
