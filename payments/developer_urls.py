"""Paths for developers, under a developer's access token."""

from django.urls import path

from payments.views import developer

PROJECT = "api/v1/payments/stripe/projects/<str:project_id>"

urlpatterns = [
    path("api/v1/payments/subscriptions", developer.SubscriptionsView.as_view(), name="all-subscriptions"),
    path("api/v1/payments/transactions", developer.TransactionsView.as_view(), name="all-payments"),
    path("api/v1/payments/projects", developer.ProjectsView.as_view(), name="payment-projects"),
    path("api/v1/payments/stats", developer.StatsView.as_view(), name="payment-stats"),
    path(f"{PROJECT}/config", developer.ConfigView.as_view(), name="stripe-config"),
    path(f"{PROJECT}/webhook-urls", developer.WebhookUrlsView.as_view(), name="webhook-urls"),
    path(f"{PROJECT}/validate-credentials", developer.ValidateCredentialsView.as_view(), name="validate-credentials"),
    path(f"{PROJECT}/subscriptions", developer.ProjectSubscriptionsView.as_view(), name="project-subscriptions"),
    path(f"{PROJECT}/payments", developer.ProjectPaymentsView.as_view(), name="project-payments"),
]
