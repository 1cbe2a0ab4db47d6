"""Endpoints about one end user's account: their own token names them, or the project's server names them with `user_id`.

Invariant: reading and asking make nobody appear. Whom a server names and nobody knows is answered as one who has nothing beyond
the free plan; they appear with the first request that changes something, once it is known not to be refused.
"""

import uuid
from dataclasses import dataclass, replace
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from common.errors import FieldError
from common.modes import mode_of
from common.query import read_flag, read_test_mode
from common.strict_jwt import is_identifier
from projects.appearance import has_appeared
from projects.authentication import EndUserOrServerAuthentication
from projects.models import EndUser, Project
from projects.principals import EndUserPrincipal, ServerPrincipal
from projects.services.end_user_tokens import UserBanned
from projects.services.end_users import EndUserNotFound, ensure_end_user, note_visit

USER_ID = OpenApiParameter(
    "user_id",
    str,
    OpenApiParameter.QUERY,
    description="The app's own id for the user. A server must name it; an end user's token may name itself only.",
)
REQUIRED = "Name the user by the app's own id, a text of 1 to 255 characters."
# The id of whom nobody knows: nothing belongs to it.
NOBODY = uuid.UUID(int=0)


@dataclass(frozen=True)
class Account:
    """Whose account it is, in which project and mode. `is_new`: nobody has come by this id in this mode yet."""

    project: Project
    mode: str
    end_user: EndUser
    is_new: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the end user has a row."""
        return self.end_user.pk != NOBODY

    @property
    def keys(self) -> dict[str, Any]:
        """The ids, as services take them."""
        return {"project_id": self.project.pk, "mode": self.mode, "end_user_id": self.end_user.pk}


class AccountView(APIView):
    """A view for an end user's token or a project's API key. The key decides the mode."""

    authentication_classes = [EndUserOrServerAuthentication]

    def own_account(self, request: Request) -> Account:
        """Return the account that a GET is about: `user_id` of the query for a server. Nobody appears by it.

        Raises: FieldError (422) when a server names nobody, EndUserNotFound (404) for another user than the token's,
        UserBanned (403).
        """
        return self._account(request, request.query_params.get("user_id"), where="query")

    def asked_account(self, request: Request, user_id: Any) -> Account:
        """Return the account that a body is about. Nobody appears by it. Raises: as own_account."""
        return self._account(request, user_id, where="body")

    def appear(self, account: Account) -> Account:
        """Return the account for something that changes it: whom the server names for the first time appears."""
        if account.is_known:
            end_user = note_visit(end_user=account.end_user, email=None, mode=account.mode)
        else:
            external_id = account.end_user.external_id
            end_user = ensure_end_user(project=account.project, external_id=external_id, email=None, mode=account.mode)
        return replace(account, end_user=end_user, is_new=False)

    def _account(self, request: Request, user_id: Any, *, where: str) -> Account:
        principal: object = request.user
        if isinstance(principal, EndUserPrincipal):
            if user_id is not None and user_id != principal.end_user.external_id:
                raise EndUserNotFound
            mode = mode_of(read_test_mode(request.query_params))
            return Account(principal.project, mode, principal.end_user)
        if not isinstance(principal, ServerPrincipal):
            raise TypeError("an account needs an end user or a server")
        read_flag(request.query_params, "test_mode")
        if not is_identifier(user_id):
            raise FieldError(where, "user_id", msg=REQUIRED, type="missing" if user_id is None else "value_error")
        end_user = EndUser.objects.by_external_id(principal.project, str(user_id)).first()
        if not isinstance(end_user, EndUser):
            stranger = EndUser(pk=NOBODY, project=principal.project, external_id=str(user_id))
            return Account(principal.project, principal.mode, stranger, is_new=True)
        if not end_user.is_active or end_user.banned_at is not None:
            raise UserBanned()
        return Account(principal.project, principal.mode, end_user, is_new=not has_appeared(end_user, principal.mode))
