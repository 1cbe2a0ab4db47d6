"""Idempotency-Key on POST: the work happens once and the first answer comes back."""

import datetime as dt
import threading
import time
import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication
from accounts.models import User
from common.errors import ApiError, Conflict, UpstreamUnavailable
from projects.idempotency import claim_request, store_answer
from projects.idempotent_view import idempotent
from projects.models import IdempotencyRecord, Project, Role
from tests.builders import create_developer, join, make_project, run_all, server_key, signed_in, waits_for_a_lock

PATH = "/api/v1/projects/"


class Counting(APIView):
    """Counts how often its work is done, and fails on request."""

    authentication_classes = [DeveloperAuthentication]
    done: list[str] = []
    failure: Exception | None = None

    @idempotent()
    def post(self, request: Request) -> Response:
        Counting.done.append(dict(request.data)["name"])
        if Counting.failure is not None:
            raise Counting.failure
        return Response({"n": len(Counting.done), "at": timezone.now(), "id": uuid.uuid4()}, status=201)


def count(user: User, key: str = "k", body: Any = None, path: str = "/counting") -> Any:
    """POST to the counting view."""
    token = signed_in(user).token
    request = APIRequestFactory().post(
        path, body or {"name": "x"}, format="json", HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_IDEMPOTENCY_KEY=key
    )
    return Counting.as_view()(request).render()


@pytest.fixture(autouse=True)
def fresh_counter() -> None:
    Counting.done, Counting.failure = [], None


def test_the_first_answer_comes_back_and_nothing_is_done_twice() -> None:
    user = create_developer()
    api, name = signed_in(user), f"Once {uuid.uuid4().hex[:8]}"
    first = api.post(PATH, {"name": name, "description": "d"}, Idempotency_Key="a-key")
    again = api.post(PATH, {"description": "d", "name": name}, Idempotency_Key="a-key")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true" and not first.has_header("Idempotency-Replayed")
    assert Project.objects.for_user(user).count() == 1


def test_another_body_query_or_path_with_the_key_is_409() -> None:
    user = create_developer()
    assert count(user).status_code == 201
    for answer in (
        count(user, body={"name": "y"}),
        count(user, path="/counting?test_mode=false"),
        count(user, path="/elsewhere"),
    ):
        assert (answer.status_code, answer.data["code"]) == (409, "idempotency_key_reused")
    assert Counting.done == ["x"]


def test_keys_of_two_callers_do_not_meet() -> None:
    first, second = create_developer(), create_developer()
    assert count(first).data != count(second).data
    assert len(Counting.done) == 2


def test_a_key_in_flight_is_409_with_retry_after_and_an_abandoned_one_expires() -> None:
    user = create_developer()
    count(user)
    row = IdempotencyRecord.objects.filter(caller=f"user:{user.pk}")
    row.update(
        state="in_flight", lease_until=timezone.now() + dt.timedelta(seconds=60), status_code=None, response_body=None
    )
    busy = count(user)
    assert (busy.status_code, busy.data["code"]) == (409, "idempotency_in_progress")
    assert 1 <= int(busy["Retry-After"]) <= 5
    row.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert count(user, body={"name": "other"}).data["code"] == "idempotency_key_reused"
    assert count(user).status_code == 201
    assert len(Counting.done) == 2


def test_a_claim_that_was_taken_over_cannot_answer_any_more() -> None:
    user = create_developer()
    count(user)
    row = IdempotencyRecord.objects.get(caller=f"user:{user.pk}")
    from projects.idempotency import Claim

    store_answer(claim=Claim(row.pk, uuid.uuid4()), status_code=500, body={"late": True}, holds_secret=False)
    assert count(user).data["n"] == 1


def test_after_a_day_a_key_is_new_again() -> None:
    user = create_developer()
    count(user)
    IdempotencyRecord.objects.filter(caller=f"user:{user.pk}").update(
        created_at=timezone.now() - dt.timedelta(hours=25)
    )
    assert count(user, body={"name": "y"}).status_code == 201
    assert Counting.done == ["x", "y"]


def test_a_refusal_that_is_the_result_is_kept() -> None:
    user = create_developer()
    Counting.failure = Conflict("Taken.", code="taken")
    assert count(user).status_code == 409
    Counting.failure = None
    again = count(user)
    assert (again.status_code, again.data) == (409, {"detail": "Taken.", "code": "taken"})
    assert len(Counting.done) == 1


@pytest.mark.parametrize("failure", [UpstreamUnavailable(), ApiError("x", code="y"), RuntimeError("boom")])
def test_a_failure_of_ours_may_be_tried_again(failure: Exception) -> None:
    if isinstance(failure, ApiError) and not isinstance(failure, UpstreamUnavailable):
        failure.status_code = 404
    user = create_developer()
    Counting.failure = failure
    if isinstance(failure, RuntimeError):
        with pytest.raises(RuntimeError):
            count(user)
    else:
        assert count(user).status_code in (404, 503)
    Counting.failure = None
    assert count(user).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "tab\there"])
def test_a_key_that_is_no_key_is_422(key: str) -> None:
    answer = count(create_developer(), key=key)
    assert (answer.status_code, answer.data["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert Counting.done == []


def test_ten_requests_at_once_do_the_work_once() -> None:
    user = create_developer()
    barrier = threading.Barrier(10)
    codes: list[int] = []

    def post() -> None:
        barrier.wait()
        codes.append(count(user).status_code)
        connection.close()

    threads = [threading.Thread(target=post) for _ in range(10)]
    run_all(threads)
    assert Counting.done == ["x"]
    assert set(codes) <= {201, 409} and codes.count(201) >= 1


def test_a_request_that_is_forgotten_while_its_repeat_looks_for_it_is_409() -> None:
    user = create_developer()
    count(user)
    rows = IdempotencyRecord.objects.filter(caller=f"user:{user.pk}")
    answers: list[Any] = []

    def repeat() -> None:
        answers.append(count(user))
        connection.close()

    thread = threading.Thread(target=repeat)
    with transaction.atomic():
        rows.select_for_update().get()
        thread.start()
        give_up_at = time.monotonic() + 20
        while not waits_for_a_lock("idempotencyrecord") and time.monotonic() < give_up_at:
            time.sleep(0.02)
        rows.delete()
    thread.join()
    assert (answers[0].status_code, answers[0].data["code"]) == (409, "idempotency_in_progress")
    assert int(answers[0]["Retry-After"]) == 1
    assert count(user).status_code == 201


def test_a_bad_body_may_be_mended_under_the_same_key() -> None:
    api = signed_in(create_developer())
    assert api.post(PATH, {"name": ""}, Idempotency_Key="k").status_code == 422
    assert api.post(PATH, {"name": "Good"}, Idempotency_Key="k").status_code == 201


def test_a_role_that_was_too_low_is_not_remembered() -> None:
    project = make_project(create_developer())
    member = join(project, Role.VIEWER)
    api, path = signed_in(member), f"{PATH}{project.pk}/api-keys"
    assert api.post(path, {"name": "x"}, Idempotency_Key="k").status_code == 403
    project.memberships.filter(user=member).update(role=Role.DEVELOPER)
    assert api.post(path, {"name": "x"}, Idempotency_Key="k").status_code == 201


def test_minted_tokens_are_not_kept() -> None:
    project = make_project(create_developer())
    _, server = server_key(project)
    path = f"{PATH}{project.pk}/end-user-tokens"
    assert server.post(path, {"user_id": "u"}, Idempotency_Key="k").status_code == 200
    assert server.post(path, {"user_id": "u"}, Idempotency_Key="k").json()["code"] == "already_created"
    assert IdempotencyRecord.objects.for_project(project).get().response_body is None


def test_claiming_needs_no_transaction_of_the_caller() -> None:
    from projects.idempotency import Claim, IdempotentRequest

    user = create_developer()
    request = IdempotentRequest(None, f"user:{user.pk}", "k", "POST", "/x", "h" * 64)
    assert isinstance(claim_request(request), Claim)
    assert not connection.in_atomic_block
