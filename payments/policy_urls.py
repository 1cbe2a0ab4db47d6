"""Paths of a project's billing policy and of its subscriptions' history, under a developer's access token."""

from django.urls import path

from payments.developer_urls import PROJECT
from payments.views import policy

urlpatterns = [
    path(f"{PROJECT}/billing-policy", policy.BillingPolicyView.as_view(), name="billing-policy"),
    path(
        f"{PROJECT}/subscriptions/<str:subscription_id>/history",
        policy.SubscriptionHistoryView.as_view(),
        name="subscription-history",
    ),
]
