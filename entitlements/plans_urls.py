"""Paths of plans and prices."""

from django.urls import path

from entitlements.views import plans

BASE = "api/v1/projects/<uuid:project_id>/plans"

urlpatterns = [
    path("api/v1/payments/plans", plans.PublicPlansView.as_view(), name="public-plans"),
    path(BASE, plans.PlansView.as_view(), name="plans"),
    path(f"{BASE}/<uuid:plan_id>", plans.PlanView.as_view(), name="plan"),
    path(f"{BASE}/<uuid:plan_id>/prices", plans.PlanPricesView.as_view(), name="plan-prices"),
    path(f"{BASE}/<uuid:plan_id>/prices/<uuid:price_id>", plans.PlanPriceView.as_view(), name="plan-price"),
]
