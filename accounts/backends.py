"""Password sign-in on Django's own pages (the admin), under the same limits as the API's."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import User
from accounts.services.users import WrongCredentials, check_credentials
from common.client_address import client_address
from common.errors import TooManyRequests


class LimitedBackend(ModelBackend):
    """Named by AUTHENTICATION_BACKENDS."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user with these credentials, or None. Past the limit nothing is compared any more."""
        email = username or kwargs.get(User.USERNAME_FIELD)
        if not email or password is None:
            return None
        address = client_address(request) if request is not None else "local"
        try:
            return check_credentials(email=email, password=password, address=address)
        except WrongCredentials:
            return None
        except TooManyRequests as error:
            raise PermissionDenied from error
