"""Paths of a project's connection to GitHub."""

from django.urls import path

from licenses.views.connections import GitHubConnectionCheckView, GitHubConnectionView

GITHUB = "api/v1/projects/<uuid:project_id>/connections/github"

urlpatterns = [
    path(GITHUB, GitHubConnectionView.as_view(), name="github-connection"),
    path(f"{GITHUB}/check", GitHubConnectionCheckView.as_view(), name="github-connection-check"),
]
