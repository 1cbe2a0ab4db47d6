"""Paths of the payments endpoints, one list per audience."""

from django.urls import include, path

urlpatterns = [
    path("", include("payments.webhook_urls")),
    path("", include("payments.end_user_urls")),
    path("", include("payments.server_urls")),
    path("", include("payments.developer_urls")),
    path("", include("payments.policy_urls")),
    path("", include("payments.given_plan_urls")),
    path("", include("payments.credit_urls")),
    path("", include("payments.lifetime_urls")),
]
