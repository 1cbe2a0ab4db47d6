"""Clearing out old tokens."""

import datetime as dt

from allauth.idp.oidc.models import Token
from django.utils import timezone

from accounts.models import FamilyToken, TokenFamily
from accounts.services.tokens import issue_login_tokens
from accounts.tasks import prune_expired_tokens
from tests.builders import Api, create_developer


def test_old_sign_ins_go_and_new_ones_stay() -> None:
    user = create_developer()
    old, fresh = issue_login_tokens(user=user), issue_login_tokens(user=user)
    long_ago = timezone.now() - dt.timedelta(days=61)
    first = TokenFamily.objects.filter(user=user).order_by("created_at")[0]
    TokenFamily.objects.filter(pk=first.pk).update(created_at=long_ago)
    hashes = FamilyToken.objects.filter(family=first).values_list("token_hash", flat=True)
    Token.objects.filter(hash__in=list(hashes)).update(expires_at=long_ago)
    FamilyToken.objects.filter(family=first).update(created_at=long_ago)
    assert prune_expired_tokens() >= 5
    assert TokenFamily.objects.filter(user=user).count() == 1
    assert Token.objects.filter(user=user).count() == 2
    assert Api().post("/api/v1/auth/refresh", {"refresh_token": old.refresh_token}).status_code == 401
    assert Api().post("/api/v1/auth/refresh", {"refresh_token": fresh.refresh_token}).status_code == 200
