"""Paths of the project endpoints."""

from django.urls import path

from projects.views.api_keys import ApiKeysView, ApiKeyView
from projects.views.end_users import EndUsersView, EndUserTokensView, EndUserView
from projects.views.identity_provider import IdentityProviderView
from projects.views.members import MembersView, MemberView
from projects.views.oauth_clients import IdempotentOAuthClientsView
from projects.views.projects import ProjectsView, ProjectView

BASE = "api/v1/projects/<uuid:project_id>"

urlpatterns = [
    path("api/v1/auth/clients", IdempotentOAuthClientsView.as_view(), name="oauth-clients"),
    path("api/v1/projects/", ProjectsView.as_view(), name="projects"),
    path(BASE, ProjectView.as_view(), name="project"),
    path(f"{BASE}/api-keys", ApiKeysView.as_view(), name="api-keys"),
    path(f"{BASE}/api-keys/<uuid:api_key_id>", ApiKeyView.as_view(), name="api-key"),
    path(f"{BASE}/members", MembersView.as_view(), name="members"),
    path(f"{BASE}/members/<uuid:user_id>", MemberView.as_view(), name="member"),
    path(f"{BASE}/users", EndUsersView.as_view(), name="end-users"),
    path(f"{BASE}/users/<uuid:end_user_id>", EndUserView.as_view(), name="end-user"),
    path(f"{BASE}/identity-provider", IdentityProviderView.as_view(), name="identity-provider"),
    path(f"{BASE}/end-user-tokens", EndUserTokensView.as_view(), name="end-user-tokens"),
]
