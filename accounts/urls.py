"""Sign-in, OAuth2 and the browser pages that belong to them."""

from allauth.idp.oidc.views import jwks
from django.urls import include, path

from accounts.views import clients, oauth, pages, sign_in

oidc_urls = [
    path(".well-known/openid-configuration", oauth.ConfigurationView.as_view(), name="configuration"),
    path(".well-known/jwks.json", jwks, name="jwks"),
    path("oauth/authorize", oauth.AuthorizationView.as_view(), name="authorization"),
    path("oauth/token", oauth.TokenView.as_view(), name="token"),
    path("oauth/revoke", oauth.RevokeView.as_view(), name="revoke"),
    path("oauth/introspect", oauth.IntrospectView.as_view(), name="introspect"),
    path("oauth/userinfo", oauth.UserInfoView.as_view(), name="userinfo"),
]
# allauth's views look their addresses up under these two names.
idp_urls = [path("", include((oidc_urls, "oidc")))]

urlpatterns = [
    path("api/v1/auth/register", sign_in.RegisterView.as_view(), name="register"),
    path("api/v1/auth/login", sign_in.LoginView.as_view(), name="login"),
    path("api/v1/auth/refresh", sign_in.RefreshView.as_view(), name="refresh"),
    path("api/v1/auth/logout", sign_in.LogoutView.as_view(), name="logout"),
    path("api/v1/auth/me", sign_in.MeView.as_view(), name="me"),
    path("api/v1/auth/clients/<str:client_id>", clients.OAuthClientView.as_view(), name="oauth-client"),
    path("accounts/login/", pages.SignInView.as_view(), name="account_login"),
    path("accounts/reauthenticate/", pages.SignInView.as_view(), name="account_reauthenticate"),
    path("accounts/logout/", pages.SignOutView.as_view(), name="account_logout"),
    path("", include((idp_urls, "idp"))),
]
