"""Paths that Stripe delivers to. They have no trailing slash, and a path with one is not redirected but unknown."""

from django.urls import path

from payments.views import webhook

urlpatterns = [
    path("api/v1/payments/stripe/webhooks/<str:project_id>/<str:mode>", webhook.project_webhook, name="stripe-webhook"),
    path("webhook/stripe", webhook.shared_webhook, name="stripe-webhook-shared"),
]
