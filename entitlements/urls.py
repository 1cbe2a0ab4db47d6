"""Paths of what paying gives: one file a noun, included here."""

from django.urls import include, path

urlpatterns = [
    path("", include("entitlements.plans_urls")),
    path("", include("entitlements.connections_urls")),
    path("", include("entitlements.credits_urls")),
    path("", include("entitlements.entitlements_urls")),
    path("", include("entitlements.usage_urls")),
    path("", include("entitlements.tokens_urls")),
]
