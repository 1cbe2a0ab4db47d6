"""Makes developers, projects and tokens for tests, through the services that the product uses."""

import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import Client as DjangoClient

from accounts.models import User
from accounts.services.tokens import issue_login_tokens
from projects.models import ApiKey, Membership, Project, Role
from projects.services.api_keys import create_api_key
from projects.services.projects import create_project

PASSWORD = "correct-horse-battery"


def unique_email(name: str = "dev") -> str:
    """Make an address that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}@example.com"


def create_developer(name: str = "dev", **fields: Any) -> User:
    """Create a developer who signs in with PASSWORD."""
    return User.objects.create_user(unique_email(name), PASSWORD, **fields)


@dataclass(frozen=True)
class Api:
    """A caller of the HTTP API with one bearer token, or none."""

    token: str = ""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send JSON and return Django's response."""
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return DjangoClient().generic(method, path, headers=named)
        return DjangoClient().generic(method, path, json.dumps(body), "application/json", headers=named)

    def get(self, path: str, **headers: str) -> Any:
        """GET."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST."""
        return self.call("POST", path, {} if body is None else body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        """PUT."""
        return self.call("PUT", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        """PATCH."""
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        """DELETE."""
        return self.call("DELETE", path, **headers)


def signed_in(user: User) -> Api:
    """Return a caller with a developer's access token."""
    return Api(issue_login_tokens(user=user).access_token)


def make_project(owner: User, **fields: Any) -> Project:
    """Create a project for its owner."""
    return create_project(owner=owner, name=fields.pop("name", "Acme"), **fields)


def join(project: Project, role: Role) -> User:
    """Create a developer who is a member of the project."""
    user = create_developer(role.value)
    Membership.objects.create(project=project, user=user, role=role)
    return user


def server_key(project: Project, *, is_test_mode: bool = True) -> tuple[ApiKey, Api]:
    """Create an API key and return it with a caller that uses it."""
    owner = Membership.objects.for_project(project).filter(role=Role.OWNER).select_related("user")[0]
    row, key = create_api_key(project=project, created_by=owner.user, name="server", is_test_mode=is_test_mode)
    return row, Api(key)


def provider_claims(project: Project, **changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token of a project's own provider; None drops a claim."""
    now = int(dt.datetime.now(tz=dt.UTC).timestamp())
    claims = {
        "iss": "https://idp.example",
        "aud": "acme-app",
        "sub": "user-1",
        "iat": now,
        "exp": now + 300,
        "project_id": str(project.pk),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def sign(claims: dict[str, Any], key: Any, *, algorithm: str = "HS256", **header: Any) -> str:
    """Sign a token as a provider would."""
    return jwt.encode(claims, key, algorithm=algorithm, headers=header or None)


def run_all(threads: list[threading.Thread]) -> None:
    """Start all threads and wait for them."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def waits_for_a_lock(query: str) -> bool:
    """Say whether a statement is waiting for another transaction."""
    with connection.cursor() as cursor:
        # Within a transaction the view shows what it showed first.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE %s",
            [f"%{query}%"],
        )
        return bool(cursor.fetchone()[0])


def waits_until_free(rows: QuerySet[Any], act: Callable[[], Any]) -> Any:
    """Hold the rows that a locking query finds, see that `act` waits for them on a thread, and return what it then answers."""

    def hold() -> None:
        assert list(rows), "there is nothing to hold"

    return waits_for_the_other(hold, act, table=rows.model._meta.db_table)


def waits_for_the_other(first: Callable[[], Any], act: Callable[[], Any], *, table: str) -> Any:
    """Do the first in a transaction, see that `act` waits on a thread for its commit, and return what it then answers."""
    answers: list[Any] = []

    def run() -> None:
        answers.append(act())
        connection.close()

    thread = threading.Thread(target=run)
    deadline = time.monotonic() + 20
    with transaction.atomic():
        first()
        thread.start()
        while not answers and not waits_for_a_lock(table):
            assert thread.is_alive() and time.monotonic() < deadline, "it neither answered nor waited"
            time.sleep(0.02)
        assert answers == [], "it did not wait"
    thread.join(20)
    (answer,) = answers
    return answer
