"""A project's connection to its LiteLLM proxy: checked, saved with its key encrypted, and never handed out again.

Invariants: the proxy is asked before and outside the transaction that saves; a stored key is never sent to another address than the
one it was given for; nothing is written when the proxy refuses the key; what a changed or deleted connection leaves behind is put
before a person.
"""

import ipaddress
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.db.models import Count, Q

from accounts.models import User
from common import clock
from common.encryption import DecryptionError
from common.errors import Conflict, FieldError, NotFound
from common.locks import CONNECTIONS
from common.outgoing import DEFAULT_PORTS, OutgoingRefused, Target, check_before_saving, check_url
from entitlements.models import Connection, ProvisionedUser
from entitlements.services.connection_state import note_answer, note_problem
from entitlements.services.litellm_client import (
    LiteLLM,
    LiteLLMError,
    LiteLLMMisconfigured,
    LiteLLMUnavailable,
    LiteLLMUnexpected,
)
from entitlements.services.provisioning import CONNECTION_ERROR, client_of, problem_of
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import open_review_item
from notifications.services.running import resume_waiting_rows
from projects.models import Project

Status = ProvisionedUser.Status
Problem = Connection.Problem
WHY_HTTPS = "Use https: the master key is sent with every call."
NO_QUERY = "Give the proxy's address without ? and #."
KEY_CHARS_MAX = 500
_KEY = re.compile(r"[\x21-\x7e]+")
_PREFIX = re.compile(r"[A-Za-z0-9_.:@/-]*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]")
PREFIX_TAKEN = "Another connection to this proxy names its users so that the two could meet. Choose another prefix."
PREFIX_OF_OTHER_MODE = "The project's other mode names its users so that the two could meet. Choose another prefix."
OF_THE_KEY = (Problem.KEY_REJECTED, Problem.NOT_ADMIN, Problem.KEY_OVER_BUDGET)


class ConnectionNotFound(NotFound):
    """404: nothing is connected in this mode."""

    code = "connection_not_found"
    detail = "No LiteLLM proxy is connected in this mode."


class ConnectionChanged(Conflict):
    """409: somebody else saved it meanwhile."""

    code = "connection_changed"
    detail = "The connection was changed meanwhile. Read it again."


@dataclass(frozen=True)
class Wanted:
    """What a connection is to be."""

    base_url: str
    master_key: str
    user_id_prefix: str
    spend_reset: str
    share_email: bool
    key_is_new: bool


@dataclass(frozen=True)
class Verdict:
    """What the proxy says to a connection. `problem` is "" when it works."""

    problem: str
    message: str


def get_connection(*, project: Project, mode: str) -> Connection:
    """Return the connection in use. Raises ConnectionNotFound (404)."""
    found = Connection.objects.litellm_of(project, mode)
    if found is None:
        raise ConnectionNotFound
    return found


def count_users(connection: Connection) -> dict[str, int]:
    """Count the users of a connection by how they fare. One query."""
    rows = ProvisionedUser.objects.for_project(connection.project_id).in_mode(connection.mode)
    counts = {status: Count("pk", filter=Q(status=status)) for status in Status.values}
    return rows.aggregate(total=Count("pk"), **counts, with_team_keys=Count("pk", filter=Q(team_keys__gt=0)))


def put_connection(*, project: Project, mode: str, fields: Mapping[str, Any], actor: User | None) -> Connection:
    """Connect a project to its proxy in one mode, or change that. A key that is absent or null is kept, at the same address only.

    A proxy that does not answer now is saved with that problem. Raises: FieldError (422), ConnectionChanged (409).
    """
    before = Connection.objects.for_project(project).filter(mode=mode, kind=Connection.Kind.LITELLM).first()
    wanted = _wanted(project, mode, before, fields)
    problem = _ask(project, wanted)
    with transaction.atomic():
        locked = Project.objects.existing().select_for_update(no_key=True).filter(pk=project.pk).first()
        if locked is None:
            raise NotFound()
        row = Connection.objects.for_project(project).filter(mode=mode, kind=Connection.Kind.LITELLM).first()
        if _told_apart(row) != _told_apart(before):
            raise ConnectionChanged
        row = row or Connection(project=locked, mode=mode)
        with database.cursor() as cursor:
            # Of two that take the same prefix at once, the second sees the first.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CONNECTIONS])
        _check_prefix(row, wanted)
        _leave_behind(row, wanted)
        _save(row, wanted, problem)
        log_action(
            action="connection.save",
            subject=str(row.pk),
            actor=actor,
            project_id=project.pk,
            mode=mode,
            details={"kind": row.kind, "base_url": row.base_url, "new_key": wanted.key_is_new},
        )
    resume_waiting_rows(project_id=project.pk, reason=CONNECTION_ERROR)
    return row


def delete_connection(*, project: Project, mode: str, actor: User | None) -> None:
    """Forget the key and stop all effects. Users at the proxy keep their last limits, and a person is told how many.

    Raises ConnectionNotFound (404).
    """
    with transaction.atomic():
        rows = Connection.objects.for_project(project).active().filter(mode=mode, kind=Connection.Kind.LITELLM)
        connection = rows.select_for_update(no_key=True).first()
        if connection is None:
            raise ConnectionNotFound
        users = ProvisionedUser.objects.for_project(project).in_mode(mode)
        _tell_who_is_left(connection, users.count())
        users.update(status=Status.LEFT_BEHIND)
        connection.is_active = False
        connection.set_master_key("")
        connection.problem, connection.problem_since = "", None
        connection.save()
        log_action(
            action="connection.delete",
            subject=str(connection.pk),
            actor=actor,
            project_id=project.pk,
            mode=mode,
            details={"kind": connection.kind, "base_url": connection.base_url},
        )


def check_connection(connection: Connection) -> Verdict:
    """Ask the proxy now whether it takes the key as an admin's, and keep what came of it."""
    try:
        client_of(connection).check()
    except (DecryptionError, LiteLLMError) as error:
        note_problem(connection, problem_of(error) or Problem.UNEXPECTED)
        return Verdict(connection.problem, str(error) if isinstance(error, LiteLLMError) else error.detail)
    note_answer(connection)
    return Verdict("", "The proxy answers and takes the key.")


def _wanted(project: Project, mode: str, before: Connection | None, fields: Mapping[str, Any]) -> Wanted:
    base_url = _checked_url(str(fields["base_url"]), whose=str(project.pk))
    given = fields.get("master_key")
    if given is not None and (len(given) > KEY_CHARS_MAX or not _KEY.fullmatch(given)):
        raise FieldError("body", "master_key", msg=f"A key has 1 to {KEY_CHARS_MAX} visible characters.")
    if given is None and (before is None or not before.master_key):
        raise FieldError("body", "master_key", msg="Give the proxy's master key.", type="missing")
    if given is None and before is not None and _known_url(before) != base_url:
        # Whoever may change the address could otherwise have the stored key sent to one of their own.
        raise FieldError("body", "master_key", msg="The address is another one: give the key again.", type="missing")
    prefix = fields.get("user_id_prefix")
    if prefix is None:
        prefix = before.user_id_prefix if before else _own_prefix(project, mode, base_url)
    if not _PREFIX.fullmatch(prefix):
        raise FieldError("body", "user_id_prefix", msg="Use letters, digits and _ . : @ / - only.")
    try:
        key = given if given is not None or before is None else before.get_master_key()
    except DecryptionError as error:
        raise FieldError("body", "master_key", msg="The stored key cannot be read: give it again.") from error
    share = fields.get("share_email")
    return Wanted(
        base_url=base_url,
        master_key=str(key),
        user_id_prefix=prefix,
        spend_reset=fields.get("spend_reset") or (before.spend_reset if before else Connection.SpendReset.LITELLM),
        share_email=share if share is not None else before.share_email if before else True,
        key_is_new=given is not None,
    )


def _checked_url(url: str, *, whose: str) -> str:
    """Return the address in its one spelling. Raises FieldError (422) for one that may not be called."""
    target = check_before_saving(
        url,
        field="base_url",
        whose=whose,
        why_https=WHY_HTTPS,
        leave_out={"query": NO_QUERY, "fragment": NO_QUERY},
    )
    return _one_spelling(target)


def _one_spelling(target: Target) -> str:
    """Return an address as everybody who means it would have it: two spellings of one proxy are one proxy."""
    try:
        literal = ipaddress.ip_address(target.host)
        host = f"[{literal}]" if literal.version == 6 else str(literal)
    except ValueError:
        host = target.host
    port = "" if target.port == DEFAULT_PORTS[target.parts.scheme] else f":{target.port}"
    path = posixpath.normpath("/" + _ENCODED.sub(_decoded, target.parts.path).lstrip("/")).rstrip("/")
    return f"{target.parts.scheme}://{host}{port}{path}"


def _decoded(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if _UNRESERVED.fullmatch(char) else match[0].upper()


def _known_url(row: Connection) -> str:
    """Return a stored address in its one spelling, whatever it was when it was stored."""
    try:
        return _one_spelling(check_url(row.base_url))
    except OutgoingRefused:
        return row.base_url


def _ask(project: Project, wanted: Wanted) -> str:
    """Ask the proxy whether it takes the key; return what passes by itself. Raises FieldError (422) for what does not."""
    try:
        LiteLLM(base_url=wanted.base_url, master_key=wanted.master_key, whose=str(project.pk)).check()
    except LiteLLMUnavailable as error:
        return error.problem
    except LiteLLMMisconfigured as error:
        name = "master_key" if error.problem in OF_THE_KEY else "base_url"
        raise FieldError("body", name, msg=str(error)) from error
    except LiteLLMUnexpected as error:
        raise FieldError("body", "base_url", msg=str(error)) from error
    except LiteLLMError as error:
        raise FieldError("body", "base_url", msg=str(error)) from error
    return ""


def _told_apart(row: Connection | None) -> tuple[Any, ...] | None:
    """Return what another save would have changed. The key's ciphertext is left out: its rotation changes nothing."""
    return None if row is None else (row.base_url, row.master_key_masked, row.is_active, row.user_id_prefix)


def _own_prefix(project: Project, mode: str, base_url: str) -> str:
    """Name a project's users after it; a deleted project that had the slug before keeps its users' names."""
    prefix = f"{project.slug}:{mode}:"
    new = Connection(project=project, mode=mode)
    return prefix if not _met_by(new, base_url, prefix) else f"{project.slug}-{project.pk.hex[-8:]}:{mode}:"


def _check_prefix(row: Connection, wanted: Wanted) -> None:
    """Keep users of two connections apart at one proxy, and a user's id as it is."""
    users = ProvisionedUser.objects.for_project(row.project_id).in_mode(row.mode)
    if row.user_id_prefix != wanted.user_id_prefix and users.exists():
        raise FieldError("body", "user_id_prefix", msg="Users exist under the prefix that there is; it stays.")
    met = _met_by(row, wanted.base_url, wanted.user_id_prefix)
    if met is not None:
        own = met.project_id == row.project_id
        raise FieldError("body", "user_id_prefix", msg=PREFIX_OF_OTHER_MODE if own else PREFIX_TAKEN)


def _met_by(row: Connection, base_url: str, prefix: str) -> Connection | None:
    """Return another connection whose users could have the ids that this one gives at the same proxy.

    A project's two modes are kept apart whatever their addresses: one proxy can have two names. One of somebody else's that never
    answered proves no right to speak for the proxy, and may not keep names from those who have it.
    """
    others = Connection.objects.active().exclude(pk=row.pk).only("project_id", "base_url", "user_id_prefix")
    for other in others.filter(Q(project_id=row.project_id) | Q(answered_at__isnull=False)):
        taken = other.user_id_prefix
        if not (taken.startswith(prefix) or prefix.startswith(taken)):
            continue
        if other.project_id == row.project_id or _known_url(other) == base_url:
            return other
    return None


def _leave_behind(row: Connection, wanted: Wanted) -> None:
    """Have every user read anew at another proxy, or at the same one after a pause; tell who stays at the one before."""
    users = ProvisionedUser.objects.for_project(row.project_id).in_mode(row.mode)
    moves = bool(row.base_url) and _known_url(row) != wanted.base_url
    if moves and row.is_active:
        _tell_who_is_left(row, users.count())
    if moves:
        users.update(observed=None, email_refused=False, spend_reset_done="", team_keys=0, keys_read_at=None)
    if moves or not row.is_active:
        users.update(status=Status.PENDING, last_read_at=None)


def _tell_who_is_left(connection: Connection, count: int) -> None:
    if not count:
        return
    open_review_item(
        project_id=connection.project_id,
        mode=connection.mode,
        kind=ReviewItem.Kind.FAILED_PROVISIONING,
        cause_key=f"left-behind:{connection.pk}:{int(clock.now().timestamp() * 1000)}",
        title=f"Left at a LiteLLM proxy that is not connected any more, with their last limits: {count} of the users",
        subject=str(connection.pk),
        details={"base_url": connection.base_url, "users": count, "user_id_prefix": connection.user_id_prefix},
    )


def _save(row: Connection, wanted: Wanted, problem: str) -> None:
    moment = clock.now()
    row.base_url = wanted.base_url
    row.user_id_prefix = wanted.user_id_prefix
    row.spend_reset = wanted.spend_reset
    row.share_email = wanted.share_email
    row.is_active = True
    if wanted.key_is_new:
        row.set_master_key(wanted.master_key)
    row.problem, row.problem_since = problem, moment if problem else None
    row.answered_at = row.answered_at if problem else moment
    row.save()
