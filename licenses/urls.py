"""Paths of licences, and of the connections by which they let people in."""

from django.urls import include, path

from licenses.views import access, keys, licenses, page

ACCESS = "api/v1/license-access"
KEYS = "api/v1/license-keys"
PROJECT = "api/v1/projects/<uuid:project_id>"
STRIPE = "api/v1/payments/stripe"

urlpatterns = [
    path("", include("licenses.connections_urls")),
    path(f"{ACCESS}/status", access.StatusView.as_view(), name="license-status"),
    path(f"{ACCESS}/submit-username", access.SubmitUsernameView.as_view(), name="license-submit-username"),
    path(f"{ACCESS}/check-acceptance", access.CheckAcceptanceView.as_view(), name="license-check-acceptance"),
    path(f"{ACCESS}/invite-again", access.InviteAgainView.as_view(), name="license-invite-again"),
    path(f"{ACCESS}/license-key", access.LicenseKeyView.as_view(), name="license-key"),
    path(f"{KEYS}/verify", keys.VerifyKeyView.as_view(), name="license-key-verify"),
    path(f"{KEYS}/activate", keys.ActivateKeyView.as_view(), name="license-key-activate"),
    path(f"{KEYS}/deactivate", keys.DeactivateKeyView.as_view(), name="license-key-deactivate"),
    path(f"{STRIPE}/my-licenses", licenses.MyLicensesView.as_view(), name="my-licenses"),
    path(f"{PROJECT}/licenses", licenses.ProjectLicensesView.as_view(), name="project-licenses"),
    path(f"{PROJECT}/licenses/metrics", licenses.LicenseMetricsView.as_view(), name="license-metrics"),
    path("license-access", page.LicensePage.as_view(), name="license-page"),
]
