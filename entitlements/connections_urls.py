"""Paths of a project's connections."""

from django.urls import path

from entitlements.views.connections import LiteLLMConnectionCheckView, LiteLLMConnectionView

LITELLM = "api/v1/projects/<uuid:project_id>/connections/litellm"

urlpatterns = [
    path(LITELLM, LiteLLMConnectionView.as_view(), name="litellm-connection"),
    path(f"{LITELLM}/check", LiteLLMConnectionCheckView.as_view(), name="litellm-connection-check"),
]
