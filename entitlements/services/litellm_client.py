"""Speaks to a LiteLLM proxy: the only file that does.

Nothing of an answer is believed before its shape was checked, and none of its words are repeated: they may hold keys. An error says
whether trying again helps. Source: docs/litellm.md, which lists what is known of the proxy and how.
"""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

from common.outgoing import OutgoingFailed, OutgoingRefused, OutgoingResponse, fetch
from common.strict_jwt import is_storable
from entitlements.models.connections import Connection

Problem = Connection.Problem
TIMEOUT_SECONDS = 5.0
ANSWER_BYTES_MAX = 512 * 1024
TEXT_CHARS_MAX = 400
NUMBER_MAX = 2**63
RETRY_AFTER_SECONDS_MAX = 3600
BUDGET_EXCEEDED = "budget_exceeded"
# What FastAPI says of a path that it does not know: no LiteLLM is at this address.
NO_SUCH_PATH = {"detail": "Not Found"}
# What LiteLLM's own refusals say; other interfaces have errors, too.
ERROR_FIELDS = {"message", "type", "param", "code"}
# The sessions of LiteLLM's own pages are listed as keys of this team by some releases.
DASHBOARD_TEAM = "litellm-dashboard"
# A member of the proxy who may use keys, and may not see or change others.
USER_ROLE = "internal_user"
_NUMBER = re.compile(r"\d{1,9}")


class LiteLLMError(Exception):
    """A call that did not work out. `problem` names it for the connection's page; "" says nothing about the connection."""

    retryable = True
    problem = ""
    retry_after_seconds: int | None = None


class LiteLLMMisconfigured(LiteLLMError):
    """Somebody has to mend the connection first: its key or its address is refused."""

    retryable = False

    def __init__(self, problem: str, text: str) -> None:
        super().__init__(text)
        self.problem = problem


class LiteLLMUnavailable(LiteLLMError):
    """No answer, or one that says later. Trying again may help."""

    problem = Problem.UNREACHABLE

    def __init__(self, text: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class LiteLLMUnexpected(LiteLLMError):
    """What answers is not a LiteLLM proxy, or one of a shape that is not known."""

    problem = Problem.UNEXPECTED


class LiteLLMRefused(LiteLLMError):
    """LiteLLM understood, and will not do it. Trying again does not help."""

    retryable = False


class LiteLLMConflict(LiteLLMError):
    """The id or the e-mail address belongs to a user already."""


@dataclass(frozen=True)
class Budget:
    """What a user may use. Units: US cents; None = no limit, 0 = nothing at all."""

    max_budget_cents: int | None
    budget_duration: str | None
    tpm_limit: int | None
    rpm_limit: int | None

    def __post_init__(self) -> None:
        """Refuse what LiteLLM would take and not mean: it accepts a negative budget."""
        if any(limit is not None and limit < 0 for limit in (self.max_budget_cents, self.tpm_limit, self.rpm_limit)):
            raise ValueError("a limit is not negative")

    def fields(self) -> dict[str, Any]:
        """Return the four fields as LiteLLM takes them. All are always sent: an explicit null clears, a missing one keeps."""
        return {
            "max_budget": None if self.max_budget_cents is None else self.max_budget_cents / 100,
            "budget_duration": self.budget_duration,
            "tpm_limit": self.tpm_limit,
            "rpm_limit": self.rpm_limit,
        }


@dataclass(frozen=True)
class LiteLLMUser:
    """A user as LiteLLM has it. `spend` is what it reports, which lags behind what it enforces."""

    user_id: str
    user_email: str | None
    user_role: str | None
    max_budget: float | None
    budget_duration: str | None
    tpm_limit: float | None
    rpm_limit: float | None
    spend: float | None
    metadata: dict[str, Any] = field(repr=False)

    def budget_fields(self) -> dict[str, Any]:
        """Return what can be compared with `Budget.fields()`."""
        names = ("max_budget", "budget_duration", "tpm_limit", "rpm_limit")
        return {name: getattr(self, name) for name in names}


class LiteLLM:
    """One proxy, called with its master key. Every call is bounded in time and size, and follows no redirect."""

    def __init__(self, *, base_url: str, master_key: str, whose: str) -> None:
        """Prepare calls. `whose`: the project that supplied the address."""
        self._whose = whose
        self._base_url = base_url.rstrip("/")
        self._master_key = master_key

    def check(self) -> None:
        """Ask for a user whom nobody has: a proxy that takes the key as an admin's says that there is none.

        Raises: LiteLLMMisconfigured, LiteLLMUnavailable, LiteLLMUnexpected.
        """
        nobody = f"nobody-{secrets.token_hex(8)}"
        if self._get("/v2/user/info", nobody) is not None:
            raise LiteLLMUnexpected("The address answers that a user exists whom nobody has made.")
        # The newer address says 404 to a key that may not see users as well; the older one says 403 then.
        self._get("/user/info", nobody)

    def read_user(self, user_id: str) -> LiteLLMUser | None:
        """Return a user, None when LiteLLM does not know the id. Raises: LiteLLMError."""
        row = self._get("/v2/user/info", user_id)
        if row is None:
            return None
        if not {"max_budget", "budget_duration", "tpm_limit", "rpm_limit"} <= row.keys():
            # Some releases leave limits out here; the older address has the whole row.
            whole = (self._get("/user/info", user_id) or {}).get("user_info")
            row = {**(whole if isinstance(whole, dict) else {}), **row}
        user = _user_of(row)
        if user.user_id != user_id:
            raise LiteLLMUnexpected("The answer is about another user than the one who was asked for.")
        return user

    def count_team_keys(self, user_id: str) -> int:
        """Count the user's keys that belong to a team, and so are not held to the user's budget. Raises: LiteLLMError."""
        keys = (self._get("/user/info", user_id) or {}).get("keys") or []
        if not isinstance(keys, list):
            raise LiteLLMUnexpected("The user's keys are not a list.")
        teams = [key.get("team_id") for key in keys if isinstance(key, dict)]
        return sum(1 for team in teams if team and team != DASHBOARD_TEAM)

    def create_user(self, *, user_id: str, user_email: str | None, budget: Budget, metadata: dict[str, Any]) -> None:
        """Make a user without a key. Raises: LiteLLMConflict when the id or the address is taken, LiteLLMError."""
        body = {"user_id": user_id, "user_role": USER_ROLE, "auto_create_key": False, "metadata": metadata}
        body |= budget.fields() | ({"user_email": user_email} if user_email else {})
        self._post("/user/new", body)

    def update_user(self, *, user_id: str, budget: Budget, changes: dict[str, Any]) -> None:
        """Set a user's limits and what else is in `changes`. An unknown id would be made silently: read first.

        Raises: LiteLLMError.
        """
        self._post("/user/update", {"user_id": user_id, **budget.fields(), **changes})

    def _get(self, path: str, user_id: str) -> dict[str, Any] | None:
        answer = self._call("GET", f"{path}?user_id={quote(user_id, safe='')}")
        body = _json_of(answer)
        if answer.status_code == 404 and isinstance(body, dict) and body and body != NO_SUCH_PATH:
            return None
        if answer.status_code == 403:
            raise LiteLLMMisconfigured(Problem.NOT_ADMIN, "LiteLLM does not let this key see users: it is no admin's.")
        if answer.status_code != 200:
            _raise_for(answer.status_code, body, answer)
        if not isinstance(body, dict):
            raise LiteLLMUnexpected("The answer is not a JSON object.")
        return body

    def _post(self, path: str, body: dict[str, Any]) -> None:
        answer = self._call("POST", path, json.dumps(body).encode())
        known = _json_of(answer)
        if answer.status_code != 200:
            _raise_for(answer.status_code, known, answer)
        if not isinstance(known, dict):
            raise LiteLLMUnexpected("The answer is not a JSON object.")

    def _call(self, method: str, path: str, content: bytes = b"") -> OutgoingResponse:
        headers = {"Authorization": f"Bearer {self._master_key}", "Accept": "application/json"}
        if content:
            headers["Content-Type"] = "application/json"
        try:
            return fetch(
                method,
                f"{self._base_url}{path}",
                headers=headers,
                content=content,
                timeout=TIMEOUT_SECONDS,
                max_bytes=ANSWER_BYTES_MAX,
                whose=self._whose,
            )
        except OutgoingRefused as error:
            raise LiteLLMMisconfigured(Problem.ADDRESS_REFUSED, str(error)) from None
        except OutgoingFailed as error:
            raise LiteLLMUnavailable(str(error)) from None


def _json_of(answer: OutgoingResponse) -> Any:
    """Return what an answer's JSON says, None for anything that is none."""
    try:
        return json.loads(answer.content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_for(status: int, body: Any, answer: OutgoingResponse) -> NoReturn:
    """Turn a refusal into an error; its words are not repeated. Raises: LiteLLMError."""
    if status == 401 and not _is_litellms(body):
        # Any server with a sign-in answers 401: nothing is known to be wrong with the key.
        raise LiteLLMUnexpected("No LiteLLM answers there (401).")
    if status == 401:
        raise LiteLLMMisconfigured(Problem.KEY_REJECTED, "LiteLLM refuses the master key.")
    if status == 422 and _error_type(body) == BUDGET_EXCEEDED:
        raise LiteLLMMisconfigured(Problem.KEY_OVER_BUDGET, "The key of this connection is over its own budget.")
    if status == 409:
        raise LiteLLMConflict("LiteLLM has another user with this id or address (409).")
    if status == 429:
        after = answer.headers.get("retry-after", "")
        seconds = min(int(after), RETRY_AFTER_SECONDS_MAX) if _NUMBER.fullmatch(after) else None
        raise LiteLLMUnavailable("LiteLLM asks to be called less often (429).", retry_after_seconds=seconds)
    if status >= 500:
        raise LiteLLMUnavailable(f"LiteLLM failed ({status}).")
    if status < 400 or status == 404 or not isinstance(body, dict):
        raise LiteLLMUnexpected(f"The address does not answer as LiteLLM does ({status}).")
    raise LiteLLMRefused(f"LiteLLM refused the call ({status}).")


def _is_litellms(body: Any) -> bool:
    """Say whether a refusal has the shape of LiteLLM's own."""
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and error.keys() >= ERROR_FIELDS


def _error_type(body: Any) -> str:
    """Return the type that an error names: a budget that is used up and a field that is wrong are both 422."""
    error = body.get("error") if isinstance(body, dict) else None
    named = error.get("type") if isinstance(error, dict) else body.get("type") if isinstance(body, dict) else None
    return named if isinstance(named, str) else ""


def _user_of(row: dict[str, Any]) -> LiteLLMUser:
    metadata = row.get("metadata")
    return LiteLLMUser(
        user_id=_text(row, "user_id") or "",
        user_email=_text(row, "user_email"),
        user_role=_text(row, "user_role"),
        max_budget=_number(row, "max_budget"),
        budget_duration=_text(row, "budget_duration"),
        tpm_limit=_number(row, "tpm_limit"),
        rpm_limit=_number(row, "rpm_limit"),
        spend=_number(row, "spend"),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX or not is_storable(value):
        raise LiteLLMUnexpected(f"{name} is no text of a usual length.")
    return value


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    # PostgreSQL's bigint may come as text, as some JSON writers do to keep its digits.
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise LiteLLMUnexpected(f"{name} is no number of a usual size.")
    return value
