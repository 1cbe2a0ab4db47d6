"""What is kept about one end user: handed out whole, and erased so that no table knows the person and the books still do."""

import json
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from backoffice.models import Export, ExportPart
from backoffice.services.exports.making import make_export, pieces_of
from backoffice.services.people.anonymising import anonymise, keep_people_anonymised
from backoffice.services.people.handing_out import HOLDINGS, hand_out
from common.errors import ApiError
from entitlements.models import CreditEntry, CreditTransaction
from entitlements.services import ledger
from licenses.models import License, LicenseSeat
from moderation.models import ActionLog, ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import note_review_item, open_review_item
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from payments.models import MirrorFailure, StripeCustomer, Subscription, Transaction, WebhookEvent
from payments.services.invariants import check_invariants
from projects.models import EndUser, IdempotencyRecord, Project
from tests.cast import AppUser, Developer
from tests.licenses.licensing import license_in_hand
from tests.payments.deliveries import deliver, events_of, purchase, set_webhook_secret
from tests.payments.rows import create_end_user, stripe_id
from tests.payments.shop import Shop, at_once, connect_stripe

LEAVES = ("ban-user", "unban-user", "personal-data", "anonymise-user")
BOOKS = ("id", "amount_cents", "status", "created_at", "payment_intent_id")
NAME, LOGIN = "Dana Quixotical", "dana-quix"


def url(user: AppUser, leaf: str) -> str:
    return f"/api/v1/projects/{user.end_user.project_id}/users/{user.end_user.pk}/{leaf}"


def everything_known(words: list[str]) -> list[tuple[str, str]]:
    """Look through every row of every table for these words; returns where they are."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            for word in words:
                cursor.execute(f'SELECT count(*) FROM "{name}" one WHERE one::text ILIKE %s', [f"%{word}%"])
                found += [(name, word)] if cursor.fetchone()[0] else []
    return found


def leave_traces(project: Project, end_user: EndUser, bob: Developer, email: str) -> None:
    """Have the person named in the queue, the logs, kept answers, mails and what was delivered to the app."""
    open_review_item(
        project_id=project.pk, mode="test", kind="report", cause_key=f"r:{uuid.uuid4()}", title=f"About {email}", subject="x",
        end_user_id=end_user.pk, details={"text": f"{NAME} is rude", "email": email, "category": "abuse"},
    )  # fmt: skip
    note_review_item(
        item=ReviewItem.objects.get(project=project, kind="report"), text=f"Spoke to {NAME}.", actor=bob.user
    )
    log_action(
        action="probe",
        subject="x",
        actor=bob.user,
        reason=f"{email} asked.",
        project_id=project.pk,
        details={"username": LOGIN},
    )
    MirrorFailure.objects.create(project=project, mode="test", stripe_object_id="cus_odd", error=f"cannot keep {email}")
    IdempotencyRecord.objects.create(
        project=project, caller=f"user:{bob.user.pk}", key=uuid.uuid4().hex, method="POST", path="/", request_hash="0",
        state="done", lease_until=end_user.created_at, response_body={"email": email},
    )  # fmt: skip
    mail = OutboxRow.objects.filter(project=project, end_user=end_user, kind="mail").first()
    assert mail is not None
    endpoint = WebhookEndpoint.objects.create(
        project=project, mode="test", url="https://app.example/hook", event_types=["*"]
    )
    WebhookDelivery.objects.create(
        project=project, mode="test", endpoint=endpoint, event=mail, event_type="payment.succeeded", status="delivered",
        give_up_at=end_user.created_at, log=[{"answer": email}],
    )  # fmt: skip
    OutboxRow.objects.filter(project=project).unfinished().update(
        status="done", done_at=end_user.created_at, result={"to": [email], "subject": f"Hello {NAME}"}
    )


def live_a_life(shop: Shop, dana: AppUser, bob: Developer) -> list[str]:
    """Buy, cancel, use, complain and be noted everywhere, under a name; returns the words that identify the person."""
    end_user, project = dana.end_user, shop.project
    email = str(EndUser.objects.get(pk=end_user.pk).email)
    set_webhook_secret(project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    customer = StripeCustomer.objects.get(project=project, end_user=end_user)
    shop.api("POST", f"customers/{customer.stripe_customer_id}", name=NAME, phone="+4912345678", email=email)
    deliver(shop, events_of(shop))
    subscription = Subscription.objects.get(project=project)
    shop.api("DELETE", f"subscriptions/{subscription.stripe_subscription_id}")
    deliver(shop, events_of(shop))
    license = license_in_hand(project)
    License.objects.filter(pk=license.pk).update(
        email=email,
        username=LOGIN,
        end_user=end_user,
        state="revoked",
        revoked_at=license.created_at,
        revoked_because="staff",
    )
    LicenseSeat.objects.create(
        project=project,
        mode="test",
        license=license,
        revision=1,
        github_user_id=7,
        login=LOGIN,
        organization="acme",
        team_slug="t",
    )
    whose: Any = {"project_id": project.pk, "mode": "test", "end_user_id": end_user.pk}
    ledger.grant_credits(**whose, bucket="bonus", amount=50, key=f"t:{uuid.uuid4()}")
    ledger.spend_credits(
        **whose, amount=20, key=f"t:{email}", actor="server", description=email, metadata={"who": email}
    )
    leave_traces(project, end_user, bob, email)
    return [email, NAME, LOGIN, end_user.external_id, "+4912345678"]


@pytest.fixture
def shop(acme: Project, sandbox: Any) -> Shop:
    """Acme sells through an account of its own."""
    account = sandbox.create_account("Acme")
    connect_stripe(acme, account)
    return Shop(acme, account, sandbox)


# Works


def test_a_person_is_handed_out_then_erased_from_every_table_and_the_books_stay(
    shop: Shop, dana: AppUser, alice: Developer, bob: Developer
) -> None:
    words = live_a_life(shop, dana, bob)
    project, user_id = shop.project, dana.user_id
    answer = bob.client.post(url(dana, "personal-data"))
    document = json.loads(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    assert set(document["tables"]) == {*HOLDINGS, "stripe_mirror"} and document["about"]["end_user_id"] == str(
        dana.end_user.pk
    )
    whole = json.dumps(document)
    assert all(word in whole for word in words) and "Spoke to" not in whole and "client_secret" not in whole
    for name in (
        "payments",
        "subscriptions",
        "customers",
        "licences",
        "credit_history",
        "stripe_events",
        "mails_and_effects",
    ):
        assert document["tables"][name], name

    books = list(
        Transaction.objects.filter(project=project).values(
            "id", "amount_cents", "status", "created_at", "payment_intent_id"
        )
    )
    entries = list(CreditEntry.objects.filter(project=project).order_by("id").values())
    body = {"confirm": user_id, "reason": f"{NAME} asked for it."}
    erased = alice.client.post(url(dana, "anonymize"), body, content_type="application/json")
    assert erased.status_code == 200, erased.content
    assert everything_known(words) == []
    row = EndUser.objects.get(pk=dana.end_user.pk)
    assert (row.external_id, row.email, row.is_active) == (f"anonymised-{row.pk}", None, False) and row.anonymised_at
    kept = Transaction.objects.filter(project=project).values(
        "id", "amount_cents", "status", "created_at", "payment_intent_id"
    )
    assert list(kept) == books and list(CreditEntry.objects.filter(project=project).order_by("id").values()) == entries
    assert [one.amount for one in CreditTransaction.objects.filter(project=project).order_by("number")] == [50, -20]
    assert not [one for one in check_invariants() if str(project.pk) in str(one)]
    line = ActionLog.objects.for_project(project).get(action="end_user.anonymise")
    assert (line.actor, line.reason) == (alice.user, "[erased] asked for it.")

    # What Stripe still says about the person does not come back for good.
    customer = StripeCustomer.objects.get(project=project)
    shop.api("POST", f"customers/{customer.stripe_customer_id}", name=f"{NAME} II", email=words[0])
    deliver(shop, events_of(shop))
    customer.refresh_from_db()
    assert (customer.email, customer.name) == ("", "")
    assert WebhookEvent.objects.filter(project=project, emptied_at=None).exists()
    keep_people_anonymised()
    assert [found for found in everything_known([words[0], NAME]) if not found[0].startswith("auth")] == []


# Refuses


def test_nobody_is_erased_by_mistake_or_while_something_goes_on(
    shop: Shop, dana: AppUser, alice: Developer, bob: Developer, charlie: Developer
) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    good = {"confirm": dana.user_id, "reason": "They asked."}

    def erase(who: Developer, **change: str) -> int:
        return int(who.client.post(url(dana, "anonymize"), good | change, content_type="application/json").status_code)

    assert [erase(bob), erase(charlie), erase(alice, confirm="dana"), erase(alice, reason=" ")] == [403, 404, 422, 422]
    assert charlie.client.post(url(dana, "personal-data")).status_code == 404
    refused = alice.client.post(url(dana, "anonymize"), good, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "end_user_still_active")
    assert (
        "subscription still runs" in refused.json()["detail"] and "still to be carried out" in refused.json()["detail"]
    )
    assert EndUser.objects.get(pk=dana.end_user.pk).email and not ActionLog.objects.for_project(shop.project).exists()


def test_pages_ask_first_and_are_for_who_may(acme: Project, dana: AppUser) -> None:
    def staff(group: str) -> Client:
        user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client = Client(raise_request_exception=False)
        client.force_login(user)
        return client

    pages = {
        leaf: reverse(f"backoffice:{leaf}", args=[dana.end_user.pk])
        for leaf in ("ban-user", "unban-user", "personal-data", "anonymise-user")
    }
    support, moderator, admin = staff("Support"), staff("Moderator"), staff("Admin")
    for path in pages.values():
        assert Client().get(path).status_code == 302
        assert (
            support.get(path).status_code,
            support.post(path, {"reason": "x", "confirm": dana.user_id}).status_code,
        ) == (403, 403)
    assert (
        moderator.get(pages["anonymise-user"]).status_code == moderator.post(pages["personal-data"]).status_code == 403
    )
    assert b"Ban this user" in moderator.get(pages["ban-user"]).content
    assert moderator.post(pages["ban-user"], {"reason": " "}).status_code == 200
    dana.end_user.refresh_from_db()
    assert dana.end_user.is_active
    assert moderator.post(pages["ban-user"], {"reason": "Shares it."}).status_code == 302
    assert b"banned already" in moderator.get(pages["ban-user"]).content
    assert moderator.post(pages["unban-user"], {"reason": "Talked."}).status_code == 302
    handed = admin.post(pages["personal-data"])
    assert dana.user_id in b"".join(handed.streaming_content).decode()  # type: ignore[attr-defined]
    assert b"exactly" in admin.post(pages["anonymise-user"], {"reason": "x", "confirm": "wrong"}).content
    assert admin.post(pages["anonymise-user"], {"reason": "They asked.", "confirm": dana.user_id}).status_code == 302
    dana.end_user.refresh_from_db()
    assert dana.end_user.anonymised_at is not None
    assert [line.action for line in ActionLog.objects.for_project(acme).order_by("at", "id")] == [
        "end_user.ban", "end_user.unban", "end_user.hand_out", "end_user.anonymise",
    ]  # fmt: skip
    assert b"anonymised already" in admin.get(pages["anonymise-user"]).content
    with pytest.raises(ApiError):
        anonymise(end_user=dana.end_user, confirm=dana.end_user.external_id, actor=None, reason="Again.")


def test_what_a_buyer_typed_at_stripe_hands_out_and_erases_nobody_elses_licence(acme: Project, dana: AppUser) -> None:
    guest, of_another = license_in_hand(acme), license_in_hand(acme)
    # Dana's billing address is a stranger's, and another user's licence was bought with Dana's own.
    stranger, whose = f"stranger-{uuid.uuid4().hex}@example.com", {"project": acme, "mode": "test"}
    License.objects.filter(pk=guest.pk).update(email=stranger, username="stranger-login", end_user=None)
    other = create_end_user(acme, email=f"{uuid.uuid4().hex}@example.com")
    mine = str(dana.end_user.email)
    License.objects.filter(pk=of_another.pk).update(email=mine, username="other-login", end_user=other)
    customer = {"stripe_customer_id": stripe_id("cus"), "email": stranger, "end_user": dana.end_user}
    StripeCustomer.objects.create(id=uuid.uuid4(), **whose, **customer)
    document = "".join(hand_out(end_user=dana.end_user, actor=None))
    assert "stranger-login" not in document and "other-login" not in document
    anonymise(end_user=dana.end_user, confirm=dana.user_id, actor=None, reason="They asked.")
    kept = License.objects.filter(pk__in=[guest.pk, of_another.pk]).values_list("username", flat=True)
    assert sorted(kept) == ["other-login", "stranger-login"]


# Edge


def test_a_name_that_could_be_any_word_takes_nothing_from_others_and_leaves_documents_whole(
    acme: Project, dana: AppUser, bob: Developer
) -> None:
    # Buyers type their names at Stripe, and pick their usernames at GitHub.
    quoted = 'Dana "Q" Quixotical'
    for mode, name, phone in (("test", "currency", "12345678"), ("live", quoted, "")):
        StripeCustomer.objects.create(
            id=uuid.uuid4(), project=acme, mode=mode, stripe_customer_id=stripe_id("cus"), end_user=dana.end_user, name=name,
            billing={"phone": phone},
        )  # fmt: skip
    for login in ("null", "succeeded"):
        revoked = {"state": "revoked", "revoked_at": dana.end_user.created_at, "revoked_because": "staff"}
        License.objects.filter(pk=license_in_hand(acme).pk).update(end_user=dana.end_user, username=login, **revoked)
    line: Any = {"action": "probe", "actor": bob.user, "project_id": acme.pk}
    known = {"currency": "usd", "status": "succeeded", "left": None, "amount_cents": 12345678}
    others = log_action(**line, subject="pi_other", reason="The currency was wrong.", details=known)
    answer = IdempotencyRecord.objects.create(
        project=acme, caller="x", key=uuid.uuid4().hex, method="POST", path="/", request_hash="0", state="done",
        lease_until=dana.end_user.created_at, response_body=known,
    )  # fmt: skip
    told = {"who": "Currency", "text": f"Hello\n{quoted}", "price": 1.50, quoted: "12345678"}
    own = log_action(**line, subject=f"{dana.end_user.pk} {'null ' * 43}"[:255], details=known | told)
    anonymise(end_user=dana.end_user, confirm=dana.user_id, actor=None, reason="They asked.")
    for row in (others, own):
        row.refresh_from_db()
    assert (others.reason, others.details) == ("The currency was wrong.", known)
    assert IdempotencyRecord.objects.filter(pk=answer.pk).exists()
    erased = {"who": "[erased]", "text": "Hello\n[erased]", "price": 1.50, "[erased]": "[erased]", "status": "[erased]"}
    assert own.details == known | erased
    assert own.subject == f"{dana.end_user.pk} {'[erased] ' * 43}"[:255]


def test_files_of_other_projects_stay_and_the_daily_round_takes_none(
    acme: Project, other_project: Project, dana: AppUser, alice: Developer
) -> None:
    def made(project: Project | None) -> Export:
        row = Export.objects.create(made_by=alice.user, project=project, what="payments", status="done")
        ExportPart.objects.create(export=row, number=0, content=b"x")
        return row

    before = [made(acme), made(None), made(other_project)]
    anonymise(end_user=dana.end_user, confirm=dana.user_id, actor=None, reason="They asked.")
    statuses = dict(Export.objects.values_list("pk", "status"))
    assert [statuses[row.pk] for row in before] == ["expired", "expired", "done"]
    after = [made(acme), made(None)]
    keep_people_anonymised()
    assert set(Export.objects.filter(pk__in=[row.pk for row in after]).values_list("status", flat=True)) == {"done"}


def test_a_file_being_made_is_stopped_and_none_keeps_what_was_searched_for(
    acme: Project, other_project: Project, dana: AppUser, alice: Developer
) -> None:
    User.objects.filter(pk=alice.user.pk).update(is_staff=True)

    def asked(status: str, project: Project | None = acme) -> Export:
        return Export.objects.create(
            made_by=alice.user, project=project, what="end_users", status=status,
            filters="q=dana",
        )  # fmt: skip

    making, waiting, failed, over_all, theirs = (
        asked("pending"), asked("pending"), asked("failed"), asked("running", None), asked("pending", other_project),
    )  # fmt: skip
    erased: list[Any] = []

    def erase_before_the_first_piece(execute: Any, sql: str, *rest: Any) -> Any:
        if 'INSERT INTO "backoffice_exportpart"' in sql and not erased:
            erase: Any = {"end_user": dana.end_user, "confirm": dana.user_id, "actor": None, "reason": "They asked."}
            erased.extend(at_once(1, lambda _: anonymise(**erase)))
        return execute(sql, *rest)

    with connection.execute_wrapper(erase_before_the_first_piece):
        assert not make_export(making)
    assert erased
    for row in (making, waiting, failed, over_all):
        row.refresh_from_db()
        assert (row.status, row.filters, row.lease_until) == ("failed", "", None)
    assert not ExportPart.objects.filter(export__in=[making, waiting, failed, over_all]).exists()
    assert "Ask for the file again" in making.error and not failed.error
    theirs.refresh_from_db()
    assert (theirs.status, theirs.filters) == ("pending", "q=dana")
    theirs.delete()


def test_a_file_that_is_made_while_somebody_is_erased_does_not_stay(
    acme: Project, dana: AppUser, alice: Developer
) -> None:
    User.objects.filter(pk=alice.user.pk).update(is_staff=True)
    made: list[Export] = []

    def ask_before_the_user_is_emptied(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('UPDATE "projects_enduser"') and not made:
            export = Export.objects.create
            made.extend(at_once(1, lambda _: export(made_by=alice.user, project=acme, what="end_users")))
            assert at_once(1, lambda _: make_export(made[0])) == [True]
            assert dana.user_id.encode() in b"".join(pieces_of(made[0]))
        return execute(sql, *rest)

    with connection.execute_wrapper(ask_before_the_user_is_emptied):
        anonymise(end_user=dana.end_user, confirm=dana.user_id, actor=None, reason="They asked.")
    made[0].refresh_from_db()
    assert (made[0].status, made[0].parts.count()) == ("expired", 0)


@pytest.mark.no_db
def test_every_table_that_refers_to_an_end_user_is_handed_out() -> None:
    """A new table about people must be added to HOLDINGS, and thought of in anonymising."""

    class Nobody:
        project_id = uuid.UUID(int=0)
        end_user = EndUser(pk=uuid.UUID(int=0))
        license_ids: list[uuid.UUID] = []
        stripe_ids: list[str] = []

    held = {rows(Nobody()).model for rows in HOLDINGS.values()}  # type: ignore[arg-type]
    referring = {relation.related_model for relation in EndUser._meta.related_objects}
    assert referring - held == set()


def test_the_command_says_what_is_in_the_way_hands_out_and_erases(
    acme: Project, dana: AppUser, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--project", acme.slug, "--user", dana.user_id]
    for wrong in (["--project", "nowhere-at-all", "--user", "x"], ["--project", acme.slug, "--user", "nobody"]):
        with pytest.raises(CommandError):
            call_command("anonymise_end_user", *wrong, "--yes", "--reason", "x")
    with pytest.raises(CommandError, match="why"):
        call_command("anonymise_end_user", *named, "--yes")
    call_command("anonymise_end_user", *named, "--export")
    assert json.loads(capsys.readouterr().out)["tables"]["end_user"][0]["external_id"] == dana.user_id
    call_command("anonymise_end_user", *named)
    dana.end_user.refresh_from_db()
    assert dana.end_user.anonymised_at is None
    call_command("anonymise_end_user", *named, "--yes", "--reason", "They asked.")
    dana.end_user.refresh_from_db()
    assert dana.end_user.anonymised_at is not None


def test_redacting_lets_no_amount_and_no_line_be_changed(acme: Project, dana: AppUser, alice: Developer) -> None:
    whose: Any = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk}
    ledger.grant_credits(**whose, bucket="bonus", amount=50, key=f"t:{uuid.uuid4()}")
    line = log_action(action="probe", subject="x", actor=alice.user, reason="because", project_id=acme.pk)
    credit = "entitlements_credittransaction"
    refused = [
        f"UPDATE {credit} SET amount = amount + 1", f"UPDATE {credit} SET available_after = 1", f"DELETE FROM {credit}",
        "UPDATE entitlements_creditentry SET amount = 1", "UPDATE moderation_actionlog SET actor_label = 'x'",
        "UPDATE moderation_actionlog SET at = now()", "DELETE FROM moderation_actionlog",
    ]  # fmt: skip
    for statement in refused:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('payments.redacting', 'on', true)")
            cursor.execute(f"{statement} WHERE project_id = %s", [acme.pk])
    # Outside such a transaction not even the words can be changed.
    for table, column in ((credit, "description"), ("moderation_actionlog", "reason")):
        with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = 'x' WHERE project_id = %s", [acme.pk])
    assert ActionLog.objects.get(pk=line.pk).reason == "because"
