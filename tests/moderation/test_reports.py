"""Reports: by an end user, by the app's server for one, and by developers. They land in the queue of the project, each once."""

import datetime as dt
import uuid
from typing import Any

from django.test import override_settings
from django.utils import timezone

from moderation.models import ActionLog, ReviewItem
from payments.services.alert_measures import reports as reports_measure
from projects.models import Project
from tests.cast import AppServer, AppUser, Developer, create_app_user, set_role

URL = "/api/v1/payments/reports"


def send(caller: Any, body: dict[str, Any], url: str = URL, **headers: str) -> Any:
    return caller.client.post(url, body, content_type="application/json", headers=headers)


def reports_at(project: Project) -> str:
    return f"/api/v1/projects/{project.pk}/reports"


# Works


def test_everybody_who_may_report_does_and_members_read_it(
    acme: Project, dana: AppUser, erin: AppUser, acme_server: AppServer, alice: Developer, bob: Developer
) -> None:
    by_user = send(
        dana, {"category": "abuse", "text": "Spam\nagain", "about_user_id": erin.user_id, "reference": "post-7"}
    )
    by_server = send(acme_server, {"category": "fraud", "text": "Shared card", "user_id": dana.user_id})
    by_developer = send(
        bob, {"category": "other", "text": "Look at this", "about_user_id": dana.user_id}, reports_at(acme)
    )
    assert [answer.status_code for answer in (by_user, by_server, by_developer)] == [201] * 3, by_server.content
    assert by_user.json()["status"] == "pending" and "text" not in by_user.json()
    item = ReviewItem.objects.get(pk=by_user.json()["id"])
    assert (item.kind, item.mode, item.subject, item.end_user) == ("report", "test", "post-7", erin.end_user)
    assert item.details["reported_by"] == {"kind": "end_user", "id": str(dana.end_user.pk)}
    # Nobody is the subject of a report but whom it names: what is done about it never falls on who sent it.
    assert ReviewItem.objects.get(pk=by_server.json()["id"]).end_user is None
    set_role(acme, bob, "viewer")
    listed = bob.client.get(reports_at(acme)).json()
    assert listed["total"] == 3 and listed["reports"][2]["text"] == "Spam\nagain"
    assert listed["reports"][2]["about_user_id"] == erin.user_id
    assert [one["reported_by"] for one in listed["reports"]] == ["developer", "end_user", "end_user"]
    assert bob.client.get(f"{reports_at(acme)}?status=dismissed").json()["reports"] == []
    assert bob.client.get(f"{reports_at(acme)}?test_mode=false").json()["reports"] == []
    assert [line.action for line in ActionLog.objects.for_project(acme)] == ["report.create"]
    window = dt.timedelta(hours=1)
    assert [found.value for found in reports_measure(timezone.now(), window) if found.project_id == acme.pk] == [3]


# Refuses


def test_a_bad_report_is_refused_and_nothing_is_kept(
    acme: Project, dana: AppUser, frank: AppUser, bob: Developer
) -> None:
    good = {"category": "abuse", "text": "Spam"}
    for change in (
        {"category": "rude"}, {"text": ""}, {"text": "x" * 2001}, {"text": "a\x00b"}, {"about_user_id": "nobody"},
        {"about_user_id": frank.user_id}, {"reference": "r" * 256},
    ):  # fmt: skip
        assert send(dana, good | change).status_code == 422, change
    assert send(dana, good | {"user_id": "somebody-else"}).status_code == 404
    set_role(acme, bob, "viewer")
    assert send(bob, good, reports_at(acme)).status_code == 403
    assert not ReviewItem.objects.for_project(acme).exists()


def test_who_reports_too_often_is_told_to_wait_and_others_are_not(acme: Project) -> None:
    loud, calm = create_app_user(acme, "loud"), create_app_user(acme, "calm")
    with override_settings(RATE_LIMITS={"reports-caller": (2, 3600), "reports-address": (10_000, 3600)}):
        answers = [send(loud, {"category": "other", "text": "Hear me"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert int(answers[2]["Retry-After"]) > 0 and answers[2].json()["retry_after"] > 0
        assert send(calm, {"category": "other", "text": "Hello"}).status_code == 201
    assert ReviewItem.objects.for_project(acme).count() == 3


# Replay


def test_a_key_makes_one_report(acme: Project, dana: AppUser) -> None:
    key = uuid.uuid4().hex
    first, again = (send(dana, {"category": "other", "text": "Hear me"}, **{"Idempotency-Key": key}) for _ in range(2))
    assert (first.status_code, again.json()) == (201, first.json())
    assert ReviewItem.objects.for_project(acme).count() == 1
