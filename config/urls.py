"""The map: which path is answered by which app. Nothing is routed elsewhere."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from config.health import healthz, readyz
from config.metrics import metrics

handler400 = "config.failures.bad_request"
handler404 = "config.failures.page_not_found"
handler500 = "config.failures.server_error"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("", RedirectView.as_view(url="/demo/" if settings.DEMO else "/docs"), name="root"),
    # Paths are never redirected in general (APPEND_SLASH is off); this one is typed by hand.
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", include("backoffice.urls")),
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("projects.urls")),
    path("", include("moderation.urls")),
    path("", include("payments.urls")),
    path("", include("entitlements.urls")),
    path("", include("notifications.webhook_urls")),
    path("", include("notifications.mail_urls")),
    path("", include("licenses.urls")),
    path("", include("hosted.urls")),
    path("", include("backoffice.api_urls")),
    path("", include("config.public_urls")),
]
if settings.DEMO:
    urlpatterns.append(path("", include("config.demo")))
    urlpatterns.append(path("", include("config.dev_mail")))
