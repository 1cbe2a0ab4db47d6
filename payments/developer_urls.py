"""Paths for developers, under a developer's access token."""

from django.urls import path

from payments.views import developer, go_live, webhook_events

PROJECT = "api/v1/payments/stripe/projects/<str:project_id>"

urlpatterns = [
    path("api/v1/payments/subscriptions", developer.SubscriptionsView.as_view(), name="all-subscriptions"),
    path("api/v1/payments/transactions", developer.TransactionsView.as_view(), name="all-payments"),
    path("api/v1/payments/projects", developer.ProjectsView.as_view(), name="payment-projects"),
    path("api/v1/payments/stats", developer.StatsView.as_view(), name="payment-stats"),
    path(f"{PROJECT}/config", developer.ConfigView.as_view(), name="stripe-config"),
    path(f"{PROJECT}/webhook-urls", developer.WebhookUrlsView.as_view(), name="webhook-urls"),
    path(f"{PROJECT}/validate-credentials", developer.ValidateCredentialsView.as_view(), name="validate-credentials"),
    path(f"{PROJECT}/go-live", go_live.GoLiveView.as_view(), name="go-live"),
    path(f"{PROJECT}/key-doctor", go_live.KeyDoctorView.as_view(), name="key-doctor"),
    path(f"{PROJECT}/subscriptions", developer.ProjectSubscriptionsView.as_view(), name="project-subscriptions"),
    path(f"{PROJECT}/payments", developer.ProjectPaymentsView.as_view(), name="project-payments"),
    path(
        f"{PROJECT}/webhook-endpoint/check", webhook_events.EndpointCheckView.as_view(), name="check-webhook-endpoint"
    ),
    path(
        f"{PROJECT}/webhook-endpoint/roll-secret", webhook_events.RollSecretView.as_view(), name="roll-webhook-secret"
    ),
    path(f"{PROJECT}/webhook-events", webhook_events.WebhookEventsView.as_view(), name="webhook-events"),
    path(f"{PROJECT}/webhook-events/replay", webhook_events.ReplayEventsView.as_view(), name="replay-webhook-events"),
    path(f"{PROJECT}/webhook-events/<str:event_id>", webhook_events.WebhookEventView.as_view(), name="webhook-event"),
    path(
        f"{PROJECT}/webhook-events/<str:event_id>/replay",
        webhook_events.ReplayEventView.as_view(),
        name="replay-webhook-event",
    ),
]
