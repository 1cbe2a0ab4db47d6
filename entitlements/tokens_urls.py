"""Paths of token budgets, for an end user's token or a project API key with `user_id`."""

from django.urls import path

from entitlements.views import tokens

TOKENS = "api/v1/payments/tokens"

urlpatterns = [
    path(f"{TOKENS}/budget", tokens.TokenBudgetView.as_view(), name="token-budget"),
    path(f"{TOKENS}/check", tokens.CheckTokensView.as_view(), name="check-tokens"),
    path(f"{TOKENS}/consume", tokens.ConsumeTokensView.as_view(), name="consume-tokens"),
    path(f"{TOKENS}/reserve", tokens.ReserveTokensView.as_view(), name="reserve-tokens"),
    path(f"{TOKENS}/commit", tokens.CommitTokensView.as_view(), name="commit-tokens"),
    path(f"{TOKENS}/release", tokens.ReleaseTokensView.as_view(), name="release-tokens"),
]
