"""One project on one screen: may it sell in live mode, what its keys may do, how Stripe's events fare, and what mends each."""

import datetime as dt
import uuid
from collections.abc import Sequence

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from backoffice.staff_pages import actor_of
from backoffice.visible import page_of, row_or_404
from common import clock
from common.errors import ApiError
from common.modes import LIVE, MODES, TEST
from entitlements.models import Connection, PlanPrice
from licenses.models import GitHubConnection
from moderation.services.action_log import log_action
from payments.admin.actions import REASON_CHARS_MAX, is_reason
from payments.models import ReconcileRun, StripeConfig, StripeCredentials, WebhookEvent
from payments.models.config import SECRET_FIELDS
from payments.services.go_live import read_go_live, try_to_open
from payments.services.key_doctor import examine_key
from payments.services.webhook_address import webhook_url
from payments.services.webhook_endpoints import check_endpoint, roll_secret
from payments.services.webhook_health import Health, read_health
from projects.models import ApiKey, IdentityProvider, Membership, Project

RIGHT = "payments.change_stripeconfig"
SHOWN = 10
RUNS_SHOWN = 4
# A young comparison is shown often, a long one now and then; one that nobody works on does not reload the page.
YOUNG = dt.timedelta(minutes=1)
RELOAD_YOUNG_SECONDS, RELOAD_SECONDS = 5, 30

SAY_WHY = f"Say why, in at most {REASON_CHARS_MAX} characters."
# Who asks for a roll because a secret leaked wants the old one gone at once.
AT_ONCE = "at_once"


@require_safe
def project_page(request: HttpRequest, project_id: uuid.UUID) -> HttpResponse:
    """Show a project. Asks nobody outside."""
    project = _project_or_404(request, project_id)
    mode = request.GET.get("mode", "") if request.GET.get("mode") in MODES else None
    go_live = read_go_live(project=project)
    mode = mode or (LIVE if go_live.opened_at else TEST)
    rows = StripeCredentials.objects.for_project(project).filter(mode=mode).defer(*SECRET_FIELDS)
    credentials = rows.select_related("config").first()
    of_mode = WebhookEvent.objects.for_project(project).filter(mode=mode)
    of_project = ReconcileRun.objects.for_project(project).filter(mode=mode)
    runs = list(of_project.defer("cursors").order_by("-started_at")[:RUNS_SHOWN])
    context = {
        **admin.site.each_context(request),
        "title": project.name,
        "project": project,
        "mode": mode,
        "modes": [(one, f"?mode={one}", one == mode) for one in (LIVE, TEST)],
        "go_live": go_live,
        "may_change": _may_change(request, project),
        "config": StripeConfig.objects.for_project(project).first(),
        "credentials": credentials,
        "webhook_url": webhook_url(project.pk, mode),
        "health": read_health(project_id=project.pk).get(mode, Health()),
        "dead": list(of_mode.filter(status="dead").defer("payload").order_by("-received_at")[:SHOWN]),
        "retried": list(of_mode.unfinished().exclude(error="").defer("payload").order_by("next_attempt_at")[:SHOWN]),
        "warned": list(
            PlanPrice.objects.for_project(project).filter(mode=mode).exclude(warning="").select_related("plan")[:SHOWN]
        ),
        "runs": runs,
        "reload_seconds": _reload_seconds(runs),
        "members": list(Membership.objects.for_project(project).select_related("user").order_by("created_at")[:SHOWN]),
        "api_keys": list(ApiKey.objects.for_project(project).filter(is_active=True).order_by("-created_at")[:SHOWN]),
        "provider": IdentityProvider.objects.for_project(project).first(),
        "litellm": Connection.objects.for_project(project).filter(mode=mode).first(),
        "github": GitHubConnection.objects.for_project(project).filter(mode=mode).first(),
    }
    return TemplateResponse(request, "backoffice/project.html", context)


@csrf_protect
@require_POST
def check_page(request: HttpRequest, project_id: uuid.UUID, mode: str) -> HttpResponse:
    """Look anew at what is asked for, at Stripe: the key, the endpoint, or everything that opens live mode."""
    project = _changeable_or_refuse(request, project_id)
    what = request.POST.get("what", "")
    try:
        if what == "key":
            missing = [one.permission for one in examine_key(project=project, mode=mode) if not one.ok]
            said = (
                f"The key lacks: {', '.join(missing)}." if missing else "The key has every permission that is needed."
            )
            (messages.warning if missing else messages.success)(request, said)
        elif what == "endpoint":
            check = check_endpoint(project=project, mode=mode, mend_by_hand=True)
            messages.info(request, f"Webhook endpoint: {check.status}{f' – {check.error}' if check.error else ''}")
            log_action(action="webhook_endpoint.check", subject=check.endpoint_id or str(project.pk), actor=actor_of(request),
                       project_id=project.pk, mode=mode, details={"status": check.status, "mended": check.mended})  # fmt: skip
        elif what == "live" and mode == LIVE:
            _open_live(request, project)
    except ApiError as error:
        messages.error(request, error.detail)
    return HttpResponseRedirect(_back(project, mode))


def _open_live(request: HttpRequest, project: Project) -> None:
    """Run every check, and open live payments when all are right: for a reason, unless they are open."""
    reason = request.POST.get("reason", "").strip()
    if not is_reason(reason) and read_go_live(project=project).opened_at is None:
        messages.error(request, f"Nothing was done: {SAY_WHY}")
        return
    found = try_to_open(project=project, actor=actor_of(request), reason=reason)
    if found.opened_at is not None and found.is_green:
        messages.success(request, "Every check is green: live payments are open.")
    else:
        wrong = ", ".join(check.title for check in found.checks if not check.ok)
        messages.warning(request, f"Not right yet: {wrong}.")


@csrf_protect
@sensitive_post_parameters()
def roll_page(request: HttpRequest, project_id: uuid.UUID, mode: str) -> HttpResponse:
    """Replace the signing secret of the webhook endpoint, after a confirmation with a reason."""
    project = _changeable_or_refuse(request, project_id)
    reason = request.POST.get("reason", "").strip()
    good = is_reason(reason)
    if request.method == "POST" and request.POST.get("confirmed") == "yes" and good:
        try:
            seconds = {"expires_in_seconds": 0} if request.POST.get(AT_ONCE) else {}
            rolled = roll_secret(project=project, mode=mode, actor=actor_of(request), **seconds)
            log_action(action="webhook_secret.roll_reason", subject=rolled.endpoint_id, actor=actor_of(request),
                       reason=reason, project_id=project.pk, mode=mode)  # fmt: skip
            until = rolled.previous_secret_expires_at
            kept = (
                f" The old one verifies until {until:%Y-%m-%d %H:%M} UTC."
                if until
                else " The old one is worth nothing now."
            )
            messages.success(request, f"The signing secret was replaced.{kept}")
            return HttpResponseRedirect(_back(project, mode))
        except ApiError as error:
            messages.error(request, error.detail)
    context = {
        **admin.site.each_context(request),
        "title": "Replace the signing secret",
        "project": project,
        "mode": mode,
        "back": _back(project, mode),
        "problem": SAY_WHY if request.method == "POST" and not good else "",
    }
    return TemplateResponse(request, "backoffice/roll_secret.html", context)


project = admin.site.admin_view(project_page)
check = admin.site.admin_view(check_page)
roll = admin.site.admin_view(roll_page)


def _project_or_404(request: HttpRequest, project_id: uuid.UUID) -> Project:
    found: Project = row_or_404(request, Project, project_id)
    if found.deleted_at is not None:
        raise Http404
    return found


def _reload_seconds(runs: Sequence[ReconcileRun]) -> int:
    """After how long the page is shown anew; 0 = never."""
    now = clock.now()
    going_on = [run for run in runs if run.status == ReconcileRun.Status.RUNNING and not run.error]
    if any(now - run.started_at < YOUNG for run in going_on):
        return RELOAD_YOUNG_SECONDS
    return RELOAD_SECONDS if any(run.lease_until and run.lease_until > now for run in going_on) else 0


def _may_change(request: HttpRequest, project: Project) -> bool:
    return bool(page_of(Project).has_right(request, RIGHT, project))


def _changeable_or_refuse(request: HttpRequest, project_id: uuid.UUID) -> Project:
    project = _project_or_404(request, project_id)
    if not _may_change(request, project):
        raise PermissionDenied
    return project


def _back(project: Project, mode: str) -> str:
    return f"{reverse('backoffice:project', args=[project.pk])}?mode={mode}"
