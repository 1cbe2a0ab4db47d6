"""Staff send a mail again: after a confirmation, once per press, in the log; what was withheld for a reason stays unsent."""

from django.contrib.auth.models import Group
from django.core import mail
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts.models import ROLE_SUPPORT, User
from licenses.models import License
from licenses.services.mails import mail_buyer
from moderation.models import ActionLog
from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows
from projects.models import Project
from tests.cast import AppUser, Developer, create_developer
from tests.licenses.licensing import license_in_hand
from tests.notifications.test_brand import sign_in
from tests.notifications.test_mail import ask, run

LIST = "admin:notifications_outboxrow_changelist"


def support_client() -> tuple[User, Client]:
    """Sign somebody in who may read, and send mails again."""
    support = create_developer("support")
    support.user.groups.add(Group.objects.get_or_create(name=ROLE_SUPPORT)[0])
    return support.user, sign_in(support)


def press(client: Client, rows: list[OutboxRow], *, confirmed: bool = True) -> str:
    """Press the button for rows; returns the page that comes back."""
    form = {"action": "resend_selected", "_selected_action": [str(row.pk) for row in rows]}
    answer = client.post(
        reverse(LIST), form | ({"confirmed": "yes", "reason": "Asked for it"} if confirmed else {}), follow=True
    )
    return str(answer.content.decode())


def resent(project: Project) -> list[OutboxRow]:
    return list(OutboxRow.objects.for_project(project).filter(effect_key__contains=":resent:").order_by("created_at"))


def test_support_sends_a_mail_again_after_a_confirmation(acme: Project, dana: AppUser) -> None:
    support, client = support_client()
    row = run(ask(acme, dana.end_user))
    asked = press(client, [row], confirmed=False)
    assert "will be sent again" in asked and resent(acme) == []
    press(client, [row])
    # Twice pressed is once sent, as long as the first has not gone.
    press(client, [row])
    (again,) = resent(acme)
    run(again)
    first, second = mail.outbox
    assert first.subject == second.subject and first.to == second.to
    assert first.extra_headers["Message-ID"] != second.extra_headers["Message-ID"]
    (line,) = ActionLog.objects.for_project(acme).filter(action="mail.resend")
    assert (line.actor_label, line.subject) == (support.email, str(row.pk))
    press(client, [row])
    assert len(resent(acme)) == 2, "a later press is another mail"


def test_a_mail_without_an_address_is_sent_when_there_is_one(acme: Project, dana: AppUser) -> None:
    _, client = support_client()
    dana.end_user.email = ""
    dana.end_user.save()
    row = run(ask(acme, dana.end_user))
    assert row.status == "skipped"
    dana.end_user.email = "dana@example.com"
    dana.end_user.save()
    press(client, [row])
    run(resent(acme)[0])
    assert mail.outbox[0].to == ["dana@example.com"]


def test_support_sends_a_licences_mail_again(acme: Project) -> None:
    _, client = support_client()
    held = license_in_hand(acme)
    with transaction.atomic():
        mail_buyer(held, "license_invited", key="1")
    row = run(OutboxRow.objects.for_project(acme).get(kind="license_mail"))
    stamped = License.objects.get(pk=held.pk).invitation_mail_sent_at
    press(client, [row])
    press(client, [row])
    (again,) = resent(acme)
    assert (again.kind, again.payload) == ("license_mail", row.payload) and run(again).status == "done"
    first, second = mail.outbox
    assert first.to == second.to == [held.email] and first.subject == second.subject
    assert "token=lat_" in second.body and "lat_" not in str(list(OutboxRow.objects.for_project(acme).values()))
    assert License.objects.get(pk=held.pk).invitation_mail_sent_at == stamped is not None
    # One that is not true any more is not sent.
    License.objects.filter(pk=held.pk).update(state="pending")
    press(client, [row])
    assert run(resent(acme)[1]).status == "skipped" and len(mail.outbox) == 2


def test_what_was_withheld_and_what_is_no_mail_is_not_sent(acme: Project, dana: AppUser) -> None:
    _, client = support_client()
    withheld = ask(acme, dana.end_user)
    OutboxRow.objects.filter(pk=withheld.pk).update(status="skipped", error="The invoice was settled in the meantime.")
    alert = run(ask(acme, None, "dispute_opened", kind="alert"))
    pending = ask(acme, dana.end_user)
    press(client, [withheld, alert, pending])
    assert resent(acme) == []


def test_developers_send_their_own_projects_mails_only(
    acme: Project, dana: AppUser, bob: Developer, charlie: Developer, other_project: Project
) -> None:
    row = run(ask(acme, dana.end_user))
    press(sign_in(charlie), [row])
    assert resent(acme) == [] and not ActionLog.objects.for_project(acme).exists()
    press(sign_in(bob), [row])
    assert len(resent(acme)) == 1
    for leased in lease_due_rows(limit=1000):
        carry_out_row(leased)
