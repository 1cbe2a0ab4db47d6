"""Registering and signing in developers, with the limits that make guessing passwords pointless."""

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction

from accounts.models import User, normalize_email
from accounts.services.tokens import TokenPair, issue_login_tokens
from common.errors import Conflict, NotAuthenticated
from common.rate_limits import RateLimit, check_calls, count_call, forget_calls

# Guessing one account from one address; guessing one account from many; failing at many accounts from one address.
LOGIN_PER_ADDRESS_AND_EMAIL = RateLimit("login-address-email", amount=10, seconds=300)
LOGIN_PER_EMAIL = RateLimit("login-email", amount=50, seconds=300)
FAILURES_PER_ADDRESS = RateLimit("login-failures-address", amount=100, seconds=300)
REGISTER_PER_ADDRESS = RateLimit("register-address", amount=1000, seconds=3600)


class WrongCredentials(NotAuthenticated):
    """401 with one text for every reason, so that nobody learns which addresses have an account."""

    code = "invalid_credentials"
    detail = "Incorrect email or password"


class EmailTaken(Conflict):
    """409: somebody registered with this address before."""

    code = "email_taken"
    detail = "An account with this e-mail address exists already."


def register_user(*, email: str, password: str, full_name: str, address: str) -> User:
    """Create a developer. Raises: EmailTaken (409), TooManyRequests (429)."""
    count_call(REGISTER_PER_ADDRESS, address)
    try:
        with transaction.atomic():
            return User.objects.create_user(normalize_email(email), password, full_name=full_name)
    except IntegrityError as error:
        raise EmailTaken from error


def check_credentials(*, email: str, password: str, address: str) -> User:
    """Return the active user with these credentials. Raises: WrongCredentials (401), TooManyRequests (429)."""
    email = normalize_email(email)
    pair = f"{address} {email}"
    check_calls(FAILURES_PER_ADDRESS, address)
    count_call(LOGIN_PER_ADDRESS_AND_EMAIL, pair)
    count_call(LOGIN_PER_EMAIL, email)
    user = User.objects.filter(email=email).first()
    if user is None:
        # As slow as a real check, so that the time says nothing either.
        make_password(password)
    if user is None or not user.check_password(password) or not user.is_active:
        count_call(FAILURES_PER_ADDRESS, address)
        raise WrongCredentials
    forget_calls(LOGIN_PER_ADDRESS_AND_EMAIL, pair)
    forget_calls(LOGIN_PER_EMAIL, email)
    return user


def sign_in(*, email: str, password: str, address: str) -> TokenPair:
    """Exchange credentials for tokens. Raises: WrongCredentials (401), TooManyRequests (429)."""
    return issue_login_tokens(user=check_credentials(email=email, password=password, address=address))


def set_password(*, user: User, password: str) -> None:
    """Change a password; every token issued before is refused from the next request on."""
    user.set_password(password)
    user.save(update_fields=["password", "tokens_valid_from"])
