"""Paths for an app's server, under a project API key. The compatible paths take the project from the key."""

from django.urls import path

from payments.views import server

PAYMENTS = "api/v1/payments"

urlpatterns = [
    path("checkout/<str:app>", server.AppCheckoutView.as_view(), name="server-checkout"),
    path("portal/<str:app>", server.AppPortalView.as_view(), name="server-portal"),
    path("status/<str:app>/<path:user_id>", server.AppStatusView.as_view(), name="server-status"),
    path(f"{PAYMENTS}/checkout", server.ServerCheckoutView.as_view(), name="server-checkout-of-key"),
    path(f"{PAYMENTS}/portal", server.ServerPortalView.as_view(), name="server-portal-of-key"),
    path(f"{PAYMENTS}/status/<path:user_id>", server.ServerStatusView.as_view(), name="server-status-of-key"),
]
