"""Speaks to GitHub's API: the only file that does.

Nothing of an answer is believed before its shape was checked. An error says whether trying again helps, and when; a 404 that could
as well mean a token that sees too little is never taken for an answer about a person. Sources: docs/github.md names one per fact.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.utils import timezone

from common.outgoing import OPERATORS, OutgoingFailed, OutgoingRefused, OutgoingResponse, fetch
from licenses.models import GitHubConnection

Problem = GitHubConnection.Problem
# Source: https://docs.github.com/rest/about-the-rest-api/api-versions
API_VERSION = "2022-11-28"
TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 2 * 1024 * 1024
PAGE_SIZE = 100
PAGES_MAX = 200
TEXT_CHARS_MAX = 400
ID_MAX = 2**63 - 1
QUOTA_SECONDS = 24 * 3600
# Secondary limits: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
LIMIT_SECONDS = 60
LIMIT_SECONDS_MAX = 24 * 3600
_NUMBER = re.compile(r"\d{1,12}")
_NEXT = re.compile(r'<([^<>]{1,2048})>\s*;\s*rel="next"')
_RATE_LIMIT = re.compile(r"rate limit|abuse detection", re.IGNORECASE)
_QUOTA = re.compile(r"over invitation rate limit", re.IGNORECASE)


class GitHubError(Exception):
    """A call that did not work out. `problem` names it for the connection's page; "" says nothing about the connection."""

    retryable = True
    problem = ""
    retry_at: dt.datetime | None = None

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to wait at least, as the outbox asks."""
        return None if self.retry_at is None else max((self.retry_at - timezone.now()).total_seconds(), 0.0)


class NotFound(GitHubError):
    """GitHub has no such user. Ask the buyer again."""

    retryable = False


class Refused(GitHubError):
    """GitHub understood, and will not do it (422). A person has to look."""

    retryable = False


class OwnerKept(Refused):
    """The user owns the organisation, and owners are never removed."""


class TokenTrouble(GitHubError):
    """Somebody has to mend the connection first: the token, its permissions, the organisation or the team."""

    retryable = False

    def __init__(self, problem: str, text: str) -> None:
        super().__init__(text)
        self.problem = problem


class Unavailable(GitHubError):
    """No answer, or one that says later. Trying again may help."""

    problem = Problem.UNREACHABLE


class Unexpected(Unavailable):
    """What answers is not GitHub, or answers in a shape that is not known."""

    problem = Problem.UNEXPECTED


class RateLimited(GitHubError):
    """Too many requests; the same call helps from `retry_at` on."""

    def __init__(self, retry_at: dt.datetime) -> None:
        super().__init__(f"GitHub asks to be called again at {retry_at:%Y-%m-%d %H:%M:%S} UTC.")
        self.retry_at = retry_at


class QuotaReached(RateLimited):
    """The organisation has sent all invitations that it may send within 24 hours."""

    def __init__(self, retry_at: dt.datetime) -> None:
        super().__init__(retry_at)
        self.args = ("The organisation has sent all invitations that GitHub allows within 24 hours.",)


@dataclass(frozen=True)
class GitHubUser:
    """An account. `id` never changes; `login` may, and a stranger can take it then."""

    id: int
    login: str
    type: str


@dataclass(frozen=True)
class Membership:
    """A place in a team or an organisation. `state`: active or pending; `role`: member, maintainer, admin…"""

    state: str
    role: str


@dataclass(frozen=True)
class Invitation:
    """An invitation to the organisation; `failed_at` and `failed_reason` are set for those that came to nothing."""

    id: int
    login: str | None
    email: str | None
    role: str
    created_at: dt.datetime
    failed_at: dt.datetime | None
    failed_reason: str

    def is_of(self, login: str) -> bool:
        """Say whether it is this user's."""
        return self.login is not None and self.login.casefold() == login.casefold()


@dataclass(frozen=True)
class Answer:
    """What came back: a status that the caller asked for, and a JSON value (None for an empty body)."""

    status: int
    body: Any
    headers: dict[str, str]

    def object(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises Unexpected."""
        if not isinstance(self.body, dict):
            raise Unexpected("The answer is not a JSON object.")
        return self.body

    def list(self) -> list[dict[str, Any]]:
        """Return the body as a list of JSON objects. Raises Unexpected."""
        if not isinstance(self.body, list) or not all(isinstance(row, dict) for row in self.body):
            raise Unexpected("The answer is not a list of JSON objects.")
        return self.body


class GitHubClient:
    """GitHub with one token. Every call is bounded in time and size, and follows no redirect."""

    def __init__(self, *, token: str) -> None:
        self._token = token
        # Whether GitHub has made a change that was asked for; whoever wants to know sets it back before.
        self.has_written = False
        self._base_url = settings.GITHUB_API_BASE.rstrip("/")

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, accepted: tuple[int, ...] = (200,)
    ) -> Answer:
        """Call a path and return the answer when its status is one of those accepted. Raises: GitHubError."""
        return self._ask(method, f"{self._base_url}{path}", body, accepted)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield every row of a list, page after page. Raises: GitHubError."""
        url = f"{self._base_url}{path}?per_page={PAGE_SIZE}"
        for _ in range(PAGES_MAX):
            answer = self._ask("GET", url, None, (200,))
            yield from answer.list()
            following = self._next_page(answer)
            if following is None:
                return
            url = following
        raise Unexpected(f"The list has more than {PAGES_MAX} pages.")

    def _next_page(self, answer: Answer) -> str | None:
        """Return the next page's address; the token is sent to no other host than the one that is set."""
        found = _NEXT.search(answer.headers.get("link", ""))
        if found is None:
            return None
        if _origin(found[1]) != _origin(self._base_url):
            raise Unexpected("The next page of a list is said to be at another host.")
        return found[1]

    def _ask(self, method: str, url: str, body: dict[str, Any] | None, accepted: tuple[int, ...]) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": API_VERSION,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = fetch(
                method,
                url,
                headers=headers,
                content=b"" if body is None else json.dumps(body).encode(),
                timeout=TIMEOUT_SECONDS,
                max_bytes=ANSWER_BYTES_MAX,
                purpose=OPERATORS,
            )
        except (OutgoingRefused, OutgoingFailed) as error:
            raise Unavailable(str(error)) from None
        answer = Answer(response.status_code, _json_of(response), dict(response.headers))
        if answer.status not in accepted:
            _raise_for(answer)
        if method != "GET" and answer.status < 300:
            self.has_written = True
        return answer


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _json_of(response: OutgoingResponse) -> Any:
    """Return what an answer's JSON says, None for anything that is none."""
    try:
        return json.loads(response.content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_for(answer: Answer) -> NoReturn:
    """Turn a refusal into an error. Raises: GitHubError."""
    status, said = answer.status, message_of(answer.body)
    if status in (403, 429) and (limited := _limit_of(answer, said)):
        raise limited
    if status >= 500:
        raise Unavailable(f"GitHub failed ({status}).")
    if status < 400 or not isinstance(answer.body, dict):
        # GitHub's refusals are JSON objects; a page of HTML comes from something before it, or from elsewhere.
        raise Unexpected(f"The address does not answer as GitHub does ({status}).")
    if status == 401:
        raise TokenTrouble(Problem.TOKEN_REJECTED, "GitHub refuses the token: it is wrong, expired or was revoked.")
    if status == 403 and answer.headers.get("x-github-sso"):
        raise TokenTrouble(
            Problem.SINGLE_SIGN_ON, "The organisation uses SAML single sign-on: authorise the token for it at GitHub."
        )
    if status == 403:
        raise TokenTrouble(Problem.NOT_PERMITTED, "GitHub does not permit this to the token, or to anybody (403).")
    if status == 404:
        raise NotFound("GitHub has nothing there, or shows it to others only (404).")
    if status == 422 and _QUOTA.search(said):
        raise QuotaReached(timezone.now() + dt.timedelta(seconds=QUOTA_SECONDS))
    raise Refused(f"GitHub refused the call ({status}): {said or 'no reason given'}")


def _limit_of(answer: Answer, said: str) -> RateLimited | None:
    """Return the limit that a 403 or 429 speaks of. A 403 without any sign of a limit is about permissions.

    Source: https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
    """
    after, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    now = timezone.now()
    seconds: float | None = None
    if _NUMBER.fullmatch(after):
        seconds = int(after)
    elif answer.headers.get("x-ratelimit-remaining") == "0" and _NUMBER.fullmatch(reset):
        seconds = int(reset) - now.timestamp()
    elif answer.status == 429 or _RATE_LIMIT.search(said):
        seconds = LIMIT_SECONDS
    if seconds is None:
        return None
    return RateLimited(now + dt.timedelta(seconds=min(max(seconds, 1), LIMIT_SECONDS_MAX)))


def message_of(body: Any) -> str:
    """Return what a refusal says, in one short printable line."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    parts = [body.get("message"), *(errors if isinstance(errors, list) else [])]
    texts = [part.get("message") if isinstance(part, dict) else part for part in parts]
    line = "; ".join(text for text in texts if isinstance(text, str))
    return "".join(char if char.isprintable() else " " for char in line)[:TEXT_CHARS_MAX]


# Reading answers


def quoted(segment: str) -> str:
    """Return a name as one segment of a path, whatever it holds. Raises NotFound for what cannot be a name."""
    if segment in ("", ".", ".."):
        raise NotFound("GitHub has no such name.")
    return quote(segment, safe="")


def user_of(row: dict[str, Any]) -> GitHubUser:
    """Read an account. Raises Unexpected."""
    return GitHubUser(number_in(row, "id"), text_in(row, "login"), text_in(row, "type"))


def membership_of(row: dict[str, Any]) -> Membership:
    """Read a membership. Raises Unexpected."""
    state = text_in(row, "state")
    if state not in ("active", "pending"):
        raise Unexpected("The state of a membership is one that is not known.")
    return Membership(state, text_in(row, "role"))


def invitation_of(row: dict[str, Any]) -> Invitation:
    """Read an invitation. Raises Unexpected."""
    created_at = _moment_in(row, "created_at")
    if created_at is None:
        raise Unexpected("An invitation has no time.")
    return Invitation(
        id=number_in(row, "id"),
        login=_optional_text(row, "login"),
        email=_optional_text(row, "email"),
        role=text_in(row, "role"),
        created_at=created_at,
        failed_at=_moment_in(row, "failed_at"),
        failed_reason=_optional_text(row, "failed_reason") or "",
    )


def number_in(row: dict[str, Any], name: str) -> int:
    """Return an id. Raises Unexpected."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= ID_MAX:
        raise Unexpected(f"{name} is no id.")
    return value


def text_in(row: dict[str, Any], name: str) -> str:
    """Return a text that has to be there. Raises Unexpected."""
    value = _optional_text(row, name)
    if not value:
        raise Unexpected(f"{name} is missing.")
    return value


def _optional_text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX or not value.isprintable():
        raise Unexpected(f"{name} is no text of a usual length.")
    return value


def _moment_in(row: dict[str, Any], name: str) -> dt.datetime | None:
    value = _optional_text(row, name)
    if value is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise Unexpected(f"{name} is no time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
