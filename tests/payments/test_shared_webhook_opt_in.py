"""Taking part in the shared webhook address: only with signing secrets of one's own, and at most 50 projects."""

import uuid

import pytest
from pytest import MonkeyPatch

from payments.services import shared_webhook
from projects.models import Project
from tests.payments.actors import config_path, create_developer, create_project


@pytest.fixture(autouse=True)
def room_at_the_address() -> None:
    """Other tests' projects share the address too, and it has its bound."""
    Project.objects.filter(shared_webhook=True).update(shared_webhook=False)


def test_a_project_with_a_secret_of_its_own_may_take_part() -> None:
    project = create_project()
    developer = create_developer(project)
    secret = {"test_webhook_secret": f"whsec_{uuid.uuid4().hex}"}
    assert developer.put(config_path(project), secret).status_code == 200
    answer = developer.put(f"/api/v1/projects/{project.pk}", {"name": project.name, "shared_webhook": True})
    assert answer.status_code == 200
    project.refresh_from_db()
    assert project.shared_webhook


def test_a_secret_that_verifies_for_another_project_keeps_it_out_and_nothing_changes() -> None:
    first, second = create_project(shared_webhook=True), create_project()
    developer = create_developer(first, second)
    secret = {"test_webhook_secret": f"whsec_{uuid.uuid4().hex}"}
    assert developer.put(config_path(first), secret).status_code == 200
    assert developer.put(config_path(second), secret).status_code == 200
    answer = developer.put(f"/api/v1/projects/{second.pk}", {"name": "Changed", "shared_webhook": True})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "shared_webhook"]
    second.refresh_from_db()
    assert (second.shared_webhook, second.name) != (True, "Changed")
    assert not second.shared_webhook


def test_one_secret_for_both_modes_keeps_a_project_out() -> None:
    project = create_project()
    developer = create_developer(project)
    secret = f"whsec_{uuid.uuid4().hex}"
    both = {"test_webhook_secret": secret, "live_webhook_secret": secret}
    assert developer.put(config_path(project), both).status_code == 200
    answer = developer.put(f"/api/v1/projects/{project.pk}", {"name": project.name, "shared_webhook": True})
    assert answer.status_code == 422


def test_the_address_is_full_at_its_bound(monkeypatch: MonkeyPatch) -> None:
    create_project(shared_webhook=True)
    late = create_project()
    developer = create_developer(late)
    monkeypatch.setattr(shared_webhook, "PROJECTS_MAX", Project.objects.existing().filter(shared_webhook=True).count())
    answer = developer.put(f"/api/v1/projects/{late.pk}", {"name": late.name, "shared_webhook": True})
    assert answer.status_code == 422
    assert "share the address already" in answer.json()["detail"][0]["msg"]


def test_who_takes_part_already_is_renamed_whatever_the_bound(monkeypatch: MonkeyPatch) -> None:
    project = create_project(shared_webhook=True)
    monkeypatch.setattr(shared_webhook, "PROJECTS_MAX", 0)
    assert create_developer(project).put(f"/api/v1/projects/{project.pk}", {"name": "Renamed"}).status_code == 200
    project.refresh_from_db()
    assert (project.name, project.shared_webhook) == ("Renamed", True)
