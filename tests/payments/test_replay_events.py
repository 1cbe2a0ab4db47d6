"""manage.py replay_events: what is due again, and what is left alone."""

import io
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from tests.payments.deliveries import an_event, send, set_webhook_secret, stored

if TYPE_CHECKING:
    from projects.models import Project


@pytest.fixture
def inbox(acme: "Project") -> "Project":
    """Two dead letters, a processed event and a live dead letter."""
    set_webhook_secret(acme)
    set_webhook_secret(acme, "live")
    for event_id, status in (("evt_a", "dead"), ("evt_b", "dead"), ("evt_c", "processed")):
        send(acme, an_event(id=event_id))
        stored(acme).filter(event_id=event_id).update(status=status, attempts=8, error="broken")
    send(acme, an_event(id="evt_live", livemode=True), mode="live")
    stored(acme).filter(event_id="evt_live").update(status="dead")
    return acme


def replay(project: "Project", *options: str) -> str:
    out = io.StringIO()
    call_command("replay_events", "--project", project.slug, "--mode", "test", *options, stdout=out)
    return out.getvalue().strip()


def statuses(project: "Project") -> dict[str, str]:
    return dict(stored(project).values_list("event_id", "status"))


def test_all_dead_letters_of_a_mode_are_due_again_once(inbox: "Project") -> None:
    assert replay(inbox, "--dead") == "2 events due again."
    assert statuses(inbox) == {"evt_a": "pending", "evt_b": "pending", "evt_c": "processed", "evt_live": "dead"}
    row = stored(inbox).get(event_id="evt_a")
    assert (row.attempts, row.error, row.handled_at) == (0, "", None)
    assert replay(inbox, "--dead") == "0 events due again."


def test_one_event_is_due_again(inbox: "Project") -> None:
    assert replay(inbox, "--event-id", "evt_a") == "1 event due again."
    said = replay(inbox, "--event-id", "evt_c")
    assert said == "0 events due again: evt_c is processed, and only dead or ignored events are replayed."
    assert statuses(inbox)["evt_b"] == "dead"


def test_an_unknown_project_or_event_is_an_error_and_changes_nothing(
    inbox: "Project", other_project: "Project"
) -> None:
    before = statuses(inbox)
    for project, event_id in ((inbox, "evt_none"), (inbox, "evt_live"), (other_project, "evt_a")):
        with pytest.raises(CommandError):
            replay(project, "--event-id", event_id)
    with pytest.raises(CommandError):
        call_command("replay_events", "--project", "nobody", "--mode", "test", "--dead")
    assert statuses(inbox) == before
