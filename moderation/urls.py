"""Paths of reports."""

from django.urls import path

from moderation.views.reports import ProjectReportsView, ReportView

urlpatterns = [
    path("api/v1/payments/reports", ReportView.as_view(), name="report"),
    path("api/v1/projects/<uuid:project_id>/reports", ProjectReportsView.as_view(), name="project-reports"),
]
