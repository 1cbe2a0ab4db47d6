"""Paths of what developers do about one person."""

from django.urls import path

from backoffice.people_api import AnonymizeView, PersonalDataView

BASE = "api/v1/projects/<uuid:project_id>/users/<uuid:end_user_id>"

urlpatterns = [
    path(f"{BASE}/personal-data", PersonalDataView.as_view(), name="personal-data"),
    path(f"{BASE}/anonymize", AnonymizeView.as_view(), name="anonymize-end-user"),
]
