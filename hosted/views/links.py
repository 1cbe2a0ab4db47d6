"""POST /api/v1/payments/hosted-links: the app's server has a link minted for its user, or the signed-in user for themselves."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.rate_limits import count_call
from common.schema import IDEMPOTENCY_KEY, error_responses
from entitlements.views.usage import READ, read_body
from hosted import bodies, limits
from hosted.services.links import mint_link
from payments.services.return_urls import check_named_url
from payments.services.shapes import utc_text
from projects.account_view import Account, AccountView
from projects.idempotent_view import idempotent
from projects.principals import ServerPrincipal
from projects.services.end_users import ensure_end_user


class HostedLinksView(AccountView):
    @extend_schema(
        operation_id="create_hosted_link",
        tags=["Hosted pages"],
        parameters=[*READ, IDEMPOTENCY_KEY],
        request=bodies.HostedLinkBody,
        responses={200: bodies.HostedLinkAnswer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429)},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request) -> Response:
        """Get a link that lets one user into the project's pricing and account pages. It opens once, within five minutes."""
        given = read_body(bodies.HostedLinkBody, request)
        account = self.asked_account(request, given.get("user_id"))
        count_call(limits.LINKS_MINTED_PER_USER, f"{account.project.pk}:{account.end_user.external_id}")
        return_url = given.get("return_url") or ""
        if return_url:
            # Before anybody appears by a request that is refused.
            check_named_url(project=account.project, mode=account.mode, field="return_url", url=return_url)
        end_user = self._known(request, account, given).end_user
        link = mint_link(
            project=account.project, mode=account.mode, end_user=end_user, page=given["page"], return_url=return_url
        )
        answer = {"url": link.url, "expires_at": utc_text(link.expires_at)}
        return Response(answer, headers={"Cache-Control": "no-store"})

    def _known(self, request: Request, account: Account, given: dict[str, Any]) -> Account:
        """Return the account with its user's row: a server may tell their address, too."""
        email = given.get("email") if isinstance(request.user, ServerPrincipal) else None
        if email:
            ensure_end_user(
                project=account.project, external_id=account.end_user.external_id, email=email, mode=account.mode
            )
            account = self.asked_account(request, given.get("user_id"))
        return self.appear(account)
