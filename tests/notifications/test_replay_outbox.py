"""manage.py replay_outbox: dead effects of one project and mode, each once."""

import io
import uuid

import pytest
from django.core.management import CommandError, call_command

from moderation.models import ActionLog
from notifications.models import OutboxRow
from projects.models import Project


def create_row(project: Project, *, status: str = "dead", mode: str = "test", kind: str = "mail") -> OutboxRow:
    return OutboxRow.objects.create(
        project=project, mode=mode, kind=kind, effect_key=uuid.uuid4().hex, status=status, attempts=5
    )


def replay(project: str, *options: str, mode: str = "test") -> str:
    out = io.StringIO()
    call_command("replay_outbox", "--project", project, "--mode", mode, *options, stdout=out)
    return out.getvalue().strip()


def test_all_dead_effects_of_the_mode_or_one_kind_or_one_row(acme: Project, other_project: Project) -> None:
    mails = [create_row(acme), create_row(acme)]
    refund, live, theirs = (
        create_row(acme, kind="stripe_refund"),
        create_row(acme, mode="live"),
        create_row(other_project),
    )
    done = create_row(acme, status="done")
    assert replay(acme.slug, "--dead", "--kind", "mail") == "2 effects due again."
    assert replay(acme.slug, "--dead", "--kind", "mail") == "0 effects due again."
    assert replay(str(acme.pk), "--id", str(refund.pk)) == "1 effect due again."
    for row in (*mails, refund):
        row.refresh_from_db()
        assert (row.status, row.attempts) == ("pending", 0)
    for row, status in ((live, "dead"), (theirs, "dead"), (done, "done")):
        row.refresh_from_db()
        assert row.status == status
    lines = ActionLog.objects.for_project(acme)
    assert set(lines.values_list("action", "actor_label")) == {("outbox.replay", "system")} and lines.count() == 3


def test_an_unknown_project_or_effect_is_an_error(acme: Project, other_project: Project) -> None:
    theirs = create_row(other_project)
    with pytest.raises(CommandError, match="no project"):
        replay("nobody", "--dead")
    with pytest.raises(CommandError, match="no test effect"):
        replay(acme.slug, "--id", str(theirs.pk))
    theirs.refresh_from_db()
    assert theirs.status == "dead"
