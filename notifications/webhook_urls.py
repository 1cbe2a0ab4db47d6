"""Paths of a project's outbound webhooks."""

from django.urls import path

from notifications.views import webhook_endpoints as views

ENDPOINTS = "api/v1/projects/<uuid:project_id>/webhook-endpoints"
ONE = f"{ENDPOINTS}/<uuid:endpoint_id>"
DELIVERIES = f"{ONE}/deliveries"

urlpatterns = [
    path(ENDPOINTS, views.WebhookEndpointsView.as_view(), name="webhook-endpoints"),
    path(ONE, views.WebhookEndpointView.as_view(), name="webhook-endpoint"),
    path(f"{ONE}/rotate-secret", views.RotateEndpointSecretView.as_view(), name="webhook-endpoint-rotate"),
    path(f"{ONE}/test", views.SendTestView.as_view(), name="webhook-endpoint-test"),
    path(f"{ONE}/replay", views.ReplayRangeView.as_view(), name="webhook-endpoint-replay"),
    path(DELIVERIES, views.WebhookDeliveriesView.as_view(), name="webhook-deliveries"),
    path(f"{DELIVERIES}/<uuid:delivery_id>", views.WebhookDeliveryView.as_view(), name="webhook-delivery"),
    path(f"{DELIVERIES}/<uuid:delivery_id>/replay", views.ReplayDeliveryView.as_view(), name="webhook-delivery-replay"),
]
