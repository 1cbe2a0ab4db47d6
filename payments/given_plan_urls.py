"""Paths of plans that are given by hand."""

from django.urls import path

from payments.views.given_plans import GivenPlanView

urlpatterns = [
    path("api/v1/projects/<uuid:project_id>/users/<uuid:end_user_id>/plan", GivenPlanView.as_view(), name="given-plan"),
]
