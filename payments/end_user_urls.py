"""Paths for end users, under an end user's token."""

from django.urls import path

from payments.views import end_user

STRIPE = "api/v1/payments/stripe"

urlpatterns = [
    path(f"{STRIPE}/checkout-session", end_user.CheckoutSessionsView.as_view(), name="checkout-sessions"),
    path(
        f"{STRIPE}/checkout-session/<str:session_id>",
        end_user.CheckoutSessionView.as_view(),
        name="checkout-session",
    ),
    path(f"{STRIPE}/my-subscription", end_user.MySubscriptionView.as_view(), name="my-subscription"),
    path(f"{STRIPE}/my-entitlements", end_user.MyEntitlementsView.as_view(), name="my-entitlements"),
    path(f"{STRIPE}/my-payments", end_user.MyPaymentsView.as_view(), name="my-payments"),
    path(f"{STRIPE}/customer-portal", end_user.CustomerPortalView.as_view(), name="customer-portal"),
    path(f"{STRIPE}/cancel-subscription", end_user.CancelSubscriptionView.as_view(), name="cancel-subscription"),
    path(f"{STRIPE}/resume-subscription", end_user.ResumeSubscriptionView.as_view(), name="resume-subscription"),
    path(f"{STRIPE}/preview-update", end_user.PreviewUpdateView.as_view(), name="preview-update"),
    path(f"{STRIPE}/update-subscription", end_user.UpdateSubscriptionView.as_view(), name="update-subscription"),
]
